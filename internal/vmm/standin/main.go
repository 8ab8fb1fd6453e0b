package standin

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/agent/program"
	"banger/internal/lfs"
	"banger/internal/vmm"
)

// Roles of the process that Main is.
const (
	roleVMM   = "vmm"
	roleGuest = "guest"
	// roleAgent is the agent's program in a session: its arguments follow.
	roleAgent = "agent"
)

// order is what both processes are told.
type order struct {
	vmm.Spec
	VMM int `json:"vmm_pid"` // for the guest, whose end the VMM's is
}

// endSignals ask a process to end; neither process does.
var endSignals = []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT}

// Main is `bangerd standin ROLE ORDER`, or `bangerd standin agent ARG…`. It does not
// return.
func Main() {
	if len(os.Args) > 3 && os.Args[2] == roleAgent && program.Has(os.Args[3:]) {
		if self, err := os.Executable(); err == nil {
			lfs.Agent = self + " " + Verb + " " + roleAgent
		}
		os.Exit(program.Main(os.Args[3:]))
	}
	run(services{agent: "standin", open: agentPorts})
}

// run is the process that the arguments name; its guest has these services.
func run(s services) {
	// Go's runtime has unblocked what launch.OnlyKill blocked. Nobody reads: a
	// handler that drops signals leaves a child their default action, which
	// ignoring them would not.
	signal.Notify(make(chan os.Signal, 1), endSignals...)
	err := errors.New("bangerd " + Verb + ": not for hand use")
	if len(os.Args) == 4 {
		var o order
		if err = json.Unmarshal([]byte(os.Args[3]), &o); err == nil {
			err = o.run(os.Args[2], s)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	syscall.Exit(1)
}

// run returns only with an error.
func (o order) run(role string, s services) error {
	if role == roleGuest {
		return live(o, s)
	}
	return o.hold()
}

// hold is the VMM: it starts the guest's process, whose end is its own.
func (o order) hold() error {
	for _, path := range []string{o.Kernel, o.Initrd} {
		if path == "" {
			continue
		}
		if err := checkReadable(path); err != nil {
			return err
		}
	}
	b, err := load(o.Dir)
	if err != nil {
		return err
	}
	if b.LaunchError != "" {
		return errors.New(b.LaunchError)
	}
	guest, err := o.startGuest()
	if err != nil {
		return err
	}
	state, err := guest.Wait()
	if err != nil {
		return err
	}
	if !state.Exited() {
		return fmt.Errorf("the guest's process ended with %v", state)
	}
	syscall.Exit(state.ExitCode())
	return nil
}

// checkReadable refuses what a VMM could not read.
func checkReadable(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return errors.Join(err, fmt.Errorf("%q is no file", path))
	}
	return nil
}

// startGuest starts the guest's process on the descriptors of this one, with no
// capabilities: a command of the guest's does not reboot or mount anything of
// the host's. It hears of this thread's end by powerCut.
func (o order) startGuest() (*os.Process, error) {
	runtime.LockOSThread() // for good: its end is the power cut
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return nil, fmt.Errorf("drop capabilities: %w", err)
	}
	o.VMM = os.Getpid()
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	status := os.NewFile(fdStatus, "status")
	defer status.Close() // it tells of the guest's process only
	return os.StartProcess(program, []string{program, os.Args[1], roleGuest, string(text)}, &os.ProcAttr{
		Env:   []string{},
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, status},
		Sys:   &syscall.SysProcAttr{Pdeathsig: powerCut},
	})
}
