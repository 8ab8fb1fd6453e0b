// Bangerd keeps banger's VMs: as `bangerd serve` it is the daemon, as `bangerd
// supervise` the owner of one running VM, as `bangerd launch` the step between
// either and what it starts, as `bangerd probe-kvm` a guest of a few
// instructions, as `bangerd probe` the answer, as JSON, of which VMMs the host has.
package main

import (
	"fmt"
	"os"

	"banger/internal/daemon"
	"banger/internal/kvm"
	"banger/internal/launch"
	"banger/internal/supervisor"
)

func main() {
	args := append(os.Args, "", "") // the verb is at 1
	program, err := os.Executable()
	switch {
	case args[1] == "launch":
		launch.Main()
	case args[1] == kvm.Verb:
		kvm.Main()
	case err != nil:
	case args[1] == "supervise" && args[2] != "":
		err = supervisor.Main(drivers(program), args[2])
	case args[1] == "probe":
		err = drivers(program).WriteReport(os.Stdout)
	case args[1] == "serve":
		err = daemon.Main(program, drivers(program), os.Args[2:])
	default:
		err = fmt.Errorf("usage: bangerd serve [--ready-fd N]; banger starts it by itself")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bangerd:", err)
		os.Exit(125)
	}
}
