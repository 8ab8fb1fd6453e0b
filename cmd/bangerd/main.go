// Bangerd keeps banger's VMs: as `bangerd serve` it is the daemon, as `bangerd
// supervise` the owner of one running VM, as `bangerd launch` the step between
// either and what it starts.
package main

import (
	"fmt"
	"os"

	"banger/internal/daemon"
	"banger/internal/launch"
	"banger/internal/supervisor"
	"banger/internal/vmm/firecracker"
	"banger/internal/vmm/qemu"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "launch" {
		launch.Main()
	}
	program, err := os.Executable()
	if err == nil {
		drivers := supervisor.Drivers{
			firecracker.New(firecracker.Config{Launcher: program}),
			qemu.New(qemu.Config{Launcher: program}),
		}
		switch {
		case len(os.Args) > 2 && os.Args[1] == "supervise":
			err = supervisor.Main(drivers, os.Args[2])
		case len(os.Args) > 1 && os.Args[1] == "serve":
			err = daemon.Main(program, drivers, os.Args[2:])
		default:
			err = fmt.Errorf("usage: bangerd serve [--ready-fd N]; banger starts it by itself")
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bangerd:", err)
		os.Exit(125)
	}
}
