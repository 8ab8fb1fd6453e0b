// Package agent is banger's half of a guest. As PID 1 of the initramfs it loads
// the modules that booting needs and starts the long-lived agent, a process of
// its own; that opens the channel, says hello, joins the root when it is told
// who the guest is, and answers control and exec from then on. PID 1 moves
// into the joined root and becomes the image's init, or, where there is none,
// stays and reaps.
//
//	PID 1 (boot.go)            agent (agent.go)
//	mounts, modules
//	starts the agent      →    hello, waits for its identity
//	                           joins the root (join.go)
//	moves the root        ←    "move"
//	"moved"               →    chroots, answers ready
//	execs the init        ←    "go"
package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"banger/internal/agent/program"
)

// Name is the long-lived agent's argv[0]. systemd leaves processes whose name
// begins with @ alone when it shuts down
// (systemd.io/ROOT_STORAGE_DAEMONS).
const Name = "@banger-agent"

// programName is the argv[0] of the agent's program as a process of a session, and the
// last part of the path by which others start it (showProgram).
const programName = "banger-agent"

// Main runs the half that this process is, or what a session asks of the program.
// It does not return.
func Main() {
	// What ps and top show, however it was started.
	os.WriteFile("/proc/self/comm", []byte(programName), 0)
	var err error
	switch {
	case filepath.Base(os.Args[0]) == programName && program.Has(os.Args[1:]):
		os.Exit(program.Main(os.Args[1:]))
	case os.Getpid() == 1:
		err = boot()
	case os.Args[0] == Name:
		err = serve(slices.Equal(os.Args[1:], []string{argAgain}))
	case filepath.Base(os.Args[0]) == programName && slices.Equal(os.Args[1:], []string{argWatch}):
		err = watch()
	case filepath.Base(os.Args[0]) == programName && slices.Equal(os.Args[1:], []string{argWatch, argUnit}):
		go dropKeeper() // ends by itself
		err = watch()
	case filepath.Base(os.Args[0]) == programName && slices.Equal(os.Args[1:], []string{argReleased}):
		err = released()
	default:
		fmt.Fprintln(os.Stderr, "banger-agent runs inside banger's guests")
		os.Exit(2)
	}
	if err != nil {
		say("%v", err)
	}
	if os.Getpid() == 1 {
		reset()
	}
	os.Exit(1)
}

// say puts one line on the guest's console, past the kernel's log level.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "banger-agent: "+format+"\r\n", args...)
}
