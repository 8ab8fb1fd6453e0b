// Package program is what the agent's own program does as a process of a session, or of
// a git in the guest (lfs): one table of words, for the agent and for the stand-in.
package program

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/agent/sftp"
	"banger/internal/agent/workspace"
	"banger/internal/filecopy"
	"banger/internal/lfs"
	"banger/internal/untar"
	"banger/internal/workspace/wire"
)

// programs are what can be asked for, by their first word. home is what relative paths
// are relative to; what went wrong for the one who asked stands in the answer on out.
var programs = map[string]func(ctx context.Context, args []string, home string, in io.Reader, out io.Writer) error{
	wire.Program:     workspace.Run,
	filecopy.Program: filecopy.Run,
	lfs.Program:      lfs.Run,
	sftp.Program:     sftp.Run,
	untar.Program:    untar.Run,
}

// Has reports whether args ask for one of the programs.
func Has(args []string) bool { return len(args) > 0 && programs[args[0]] != nil }

// Main runs the program that args ask for, which Has has looked at, from stdin to
// stdout. It returns the process's exit status.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { os.Stdin.Close() })    // what reads it ends
	if args[0] != lfs.Program && args[0] != sftp.Program { // which a command of the user's runs
		hurry()
		debug.SetGCPercent(gcPercent)
	}
	home, err := os.UserHomeDir()
	if err == nil || args[0] == lfs.Program { // git may run without a home
		err = programs[args[0]](ctx, args[1:], home, os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "banger-agent:", err)
		return 1
	}
	return 0
}

// gcPercent is for programs that are short and hold a few MiB: a collection takes an emulated
// guest 30 ms, in which somebody waits.
const gcPercent = 400

// before is the nice value of what somebody outside the guest waits for.
const before = -10

// hurry puts this process, and what it starts, before all else in the guest: however
// busy that is, a save must end in its time. What can't be had is not needed.
func hurry() {
	os.WriteFile("/proc/self/autogroup", []byte(strconv.Itoa(before)), 0) // sched(7): nice values count within one
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, t := range tasks { // a nice value is a thread's, and a new one has that of its maker
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			unix.Setpriority(unix.PRIO_PROCESS, tid, before)
		}
	}
}
