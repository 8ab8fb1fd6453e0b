// Package testhost is a whole Debian machine in a file, with real KVM inside:
// QEMU emulates an AMD processor with SVM, instruction by instruction, and the
// machine's own kvm_amd runs VMs on it. What needs KVM, systemd, root, or a
// reboot of the host is tested there.
//
// Image builds the machine's disk once and keeps it in the user's cache. Boot
// starts it with a disk of what the run hands in; nothing that happens inside
// is kept. Run runs programs in it, through SSH. Close ends it, and so does the
// end of the process that booted it, however that comes.
package testhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Users of the test host.
const (
	User  = "user"  // may open /dev/kvm, and become root by sudo
	Other = "other" // may not
	Root  = "root"
)

const (
	uid     = 1000
	userID  = "1000"
	otherID = "1001"
)

// Handed is where what is handed in lies in the test host: writable, the
// user's, and as new after each boot of a test host.
const Handed = "/handed"

// HandedAsIs is the same as it was handed in, whatever has been written to Handed.
const HandedAsIs = "/var/lib/handed/tree"

// bootLimit is what a boot may take; 15 to 25 s are usual, on a loaded machine
// twice that.
const bootLimit = 10 * time.Minute

// Options say what test host to boot.
type Options struct {
	MemMiB int // 0 is 8192: less is too little for six guests
	CPUs   int // 0 is 1
	Hand   Hand
	// Bin is the directory of this machine's programs, by which a missing image is made.
	Bin string
	// Say gets lines of progress. It is never nil.
	Say func(format string, args ...any)
}

// Host is a test host that runs. Its methods may be called at once.
type Host struct {
	dir     string // temporary: the run's keys
	say     func(string, ...any)
	machine *machine
	port    int // of its SSH daemon, on 127.0.0.1
}

// Boot boots a test host, building its image where it is missing, and returns
// when it takes commands. After an error nothing is left.
func Boot(ctx context.Context, o Options) (h *Host, err error) {
	image, err := Image(ctx, o.Bin, o.Say)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "banger-test-host-")
	if err != nil {
		return nil, err
	}
	made := &Host{dir: dir, say: o.Say}
	defer func() { // h is nil by then
		if err != nil {
			err = errors.Join(err, made.Close())
		}
	}()
	h = made
	if err := h.makeKeys(ctx); err != nil {
		return nil, err
	}
	hand := Hand{"ssh": filepath.Join(dir, "ssh")}
	for name, path := range o.Hand {
		hand[name] = path
	}
	disk, err := hand.disk(filepath.Dir(image))
	if err != nil {
		return nil, fmt.Errorf("make the disk of what is handed in: %w", err)
	}
	defer disk.Close()
	begin := time.Now()
	if h.machine, err = start(image, disk, o); err != nil {
		return nil, fmt.Errorf("start the test host: %w", err)
	}
	if h.port, err = h.machine.forwardedPort(ctx); err != nil {
		return nil, err
	}
	if err := h.knowHost(); err != nil {
		return nil, err
	}
	if err := h.WaitReady(ctx, 1); err != nil {
		return nil, err
	}
	h.say("the test host is up (%.0f s)", time.Since(begin).Seconds())
	return h, nil
}

// WaitReady waits until the test host has booted n times, and takes commands
// again.
func (h *Host) WaitReady(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, bootLimit, fmt.Errorf("the test host did not come up in %v", bootLimit))
	defer cancel()
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	begin := time.Now()
	for {
		select {
		case <-h.machine.booted(n):
			return nil
		case <-tick.C:
			h.say("the test host boots (%.0f s)", time.Since(begin).Seconds())
		case <-h.machine.done:
			return fmt.Errorf("the test host ended while it booted: %s\nlast lines of its console:\n%s", h.machine.said(), h.Console())
		case <-ctx.Done():
			return fmt.Errorf("%w; last lines of its console:\n%s", context.Cause(ctx), h.Console())
		}
	}
}

// Boots is how often the test host came up.
func (h *Host) Boots() int { return h.machine.boots() }

// Reboot reboots the test host as its administrator would, and returns when it
// takes commands again.
func (h *Host) Reboot(ctx context.Context) error {
	n := h.Boots()
	// The connection may go before the answer.
	_, err := h.Output(ctx, Root, "systemctl reboot")
	var ssh *SSHError
	if err != nil && !errors.As(err, &ssh) {
		return err
	}
	return h.WaitReady(ctx, n+1)
}

// PowerCut takes the test host's power away and gives it back, and returns when
// it takes commands again: what its kernel had not written to its disk is lost.
func (h *Host) PowerCut(ctx context.Context) error {
	n := h.Boots()
	if err := h.machine.reset(); err != nil {
		return err
	}
	return h.WaitReady(ctx, n+1)
}

// Done is closed when the test host ended.
func (h *Host) Done() <-chan struct{} { return h.machine.done }

// Panicked is closed when the test host's own kernel panicked: its processor is
// emulated, and so is what KVM does with it.
func (h *Host) Panicked() <-chan struct{} { return h.machine.console.panicked }

// Console is the end of the machine's console.
func (h *Host) Console() string { return h.machine.console.tail() }

// Close ends the test host, at once: nothing in it is kept. It may be called
// again.
func (h *Host) Close() error {
	if h.machine != nil {
		h.machine.kill()
	}
	return os.RemoveAll(h.dir)
}

// Command is a program to run in the test host.
type Command struct {
	User string   // one of the three; "" is User
	Args []string // none is a login shell
	Env  []string // on top of a login's
	Dir  string   // "" is the user's home
	// Terminal gives it a terminal: stdin has to be one.
	Terminal       bool
	Stdin          io.Reader // nil is empty
	Stdout, Stderr io.Writer
}

// SSHError says that a command could not be run, or that it can't be known how
// it ended, because the connection broke.
type SSHError struct{ Text string }

func (e *SSHError) Error() string { return "reach the test host by SSH: " + e.Text }

// sshFailed is ssh's own status (ssh(1)); a command that ends with it can't be
// told apart, so the shell around it gives another.
const (
	sshFailed   = 255
	insteadOf   = 254
	closeGrace  = 2 * time.Second
	sshConnects = 15 // s
)

// Run runs a command and returns its exit status: 128+n where signal n ended
// it, 254 for 255. ctx's end ends the connection, not what runs in the test
// host.
func (h *Host) Run(ctx context.Context, c Command) (status int, err error) {
	cmd := exec.CommandContext(ctx, "ssh", h.sshArgs(c)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TERM=" + os.Getenv("TERM")}
	cmd.Stdin, cmd.Stdout = c.Stdin, c.Stdout
	cmd.WaitDelay = closeGrace
	var words strings.Builder
	cmd.Stderr = c.Stderr
	if c.Stderr == nil {
		cmd.Stderr = &words
	}
	diesWithUs(cmd)
	err = runOnStarter(cmd)
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return sshFailed, ctx.Err()
	case errors.As(err, &exit) && exit.ExitCode() == sshFailed, err != nil && exit == nil:
		return sshFailed, &SSHError{strings.TrimSpace(fmt.Sprintf("%v %s", err, words.String()))}
	case exit != nil && exit.ExitCode() < 0:
		return sshFailed, &SSHError{"ssh was ended by a signal"}
	case exit != nil:
		return exit.ExitCode(), nil
	}
	return 0, nil
}

// Output runs a shell line and returns its stdout; any status but 0 is an
// error with its stderr.
func (h *Host) Output(ctx context.Context, user, line string) (string, error) {
	var out, words strings.Builder
	status, err := h.Run(ctx, Command{User: user, Args: []string{"sh", "-c", line}, Stdout: &out, Stderr: &words})
	if err == nil && status != 0 {
		err = errors.New("exit status " + strconv.Itoa(status))
	}
	if err != nil {
		return out.String(), fmt.Errorf("run %q in the test host: %w: %s", line, err, strings.TrimSpace(words.String()))
	}
	return out.String(), nil
}
