//go:build standin

package main

import (
	"os"

	"banger/internal/vmm"
	"banger/internal/vmm/standin"
)

// A stand-in's process has nothing of the rest.
func init() {
	if len(os.Args) > 1 && os.Args[1] == standin.Verb {
		standin.Main()
	}
}

// standIns are drivers for tests. They come last: auto takes any other first.
func standIns(program string) vmm.Drivers {
	return vmm.Drivers{standin.New(standin.Config{Launcher: program})}
}
