package kvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Verb is the argument by which a program calls Main.
const Verb = "probe-kvm"

// ProbeLimit bounds Probe; see turns for what a guest takes.
const ProbeLimit = 2 * time.Second

// Main is `PROGRAM probe-kvm`: it runs a guest and says how that went. It does
// not return.
func Main() {
	if err := runGuest(Device); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// errSlow is a guest that did not end in its time.
var errSlow = fmt.Errorf("a loop that takes milliseconds did not end within %v: this KVM interprets its guests' instructions, or hangs", ProbeLimit)

// Probe runs a guest by way of program, which calls Main for Verb; nil is a KVM
// that runs guests. It returns within ProbeLimit or ctx, whatever the guest
// does: its process is killed, and one that the kernel does not let go is left to
// the kernel.
func Probe(ctx context.Context, program string) error {
	ctx, cancel := context.WithTimeout(ctx, ProbeLimit)
	defer cancel()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command(program, Verb)
	cmd.Env = []string{}
	cmd.Stdout = w // a file: Wait waits for the process alone
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return fmt.Errorf("start the probe: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }() // ends with the process; done has room
	select {
	case err = <-done:
	case <-ctx.Done():
		cmd.Process.Kill()
		return errSlow
	}
	if err == nil {
		return nil
	}
	said := make([]byte, 1<<10)
	n, _ := r.Read(said) // the writer has ended
	if words := strings.TrimSpace(string(said[:n])); words != "" {
		err = errors.New(words)
	}
	return fmt.Errorf("run a guest: %w", err)
}
