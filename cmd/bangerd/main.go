// Bangerd keeps banger's VMs. `bangerd serve` is the daemon, `supervise` the owner
// of one running VM, `launch` the step between either and what it starts, `probe`,
// `probe-kvm` and `state` answer what banger doctor asks.
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
	case args[1] == "state":
		err = daemon.CheckState(os.Stdout, args[2] == "--fix")
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
