//go:build standin

package main

import (
	"os"
	"os/signal"
	"runtime/pprof"

	"golang.org/x/sys/unix"
)

// In tests, SIGUSR2 writes all goroutines' stacks into the file that
// BANGER_TEST_STACKS names.
func init() {
	path := os.Getenv("BANGER_TEST_STACKS")
	if path == "" {
		return
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, unix.SIGUSR2)
	go func() { // ends with the process
		for range asked {
			f, err := os.Create(path + ".new")
			if err != nil {
				continue
			}
			pprof.Lookup("goroutine").WriteTo(f, 2)
			f.Close()
			os.Rename(path+".new", path)
		}
	}()
}
