package instance

import (
	"errors"
	"fmt"

	"banger/internal/vm"
)

// Errors that callers branch on.
var (
	// ErrClosing says that the daemon is stopping.
	ErrClosing = errors.New("bangerd is stopping")
	// ErrNotFound says that no VM is called so.
	ErrNotFound = errors.New("no such VM")
	// errAbandoned is the cause of an operation's end when all its callers left.
	errAbandoned = errors.New("its caller gave up")
)

// StateError is a verb that a VM's state does not allow.
type StateError struct {
	Name  string
	State vm.State
	Verb  string // a past participle, as in "can't be started"
}

func (e *StateError) Error() string {
	return fmt.Sprintf("VM %q is %s: it can't be %s", e.Name, e.State, e.Verb)
}

// BootError is a start that did not reach the guest.
type BootError struct {
	Name   string
	Kept   bool // the VM was made by the same request and was kept for a look
	Ending vm.Ending
}

func (e *BootError) Error() string {
	if e.Ending.Detail == "" {
		return fmt.Sprintf("start VM %q: it ended (%s)", e.Name, e.Ending.Cause)
	}
	return fmt.Sprintf("start VM %q: %s", e.Name, e.Ending.Detail)
}

// EndedByError is the end of an operation that gave way to a stronger one.
type EndedByError struct {
	Name, Verb, By string
}

func (e *EndedByError) Error() string {
	return fmt.Sprintf("%s of VM %q was ended by %s", e.Verb, e.Name, e.By)
}

// SilentError is a process of a VM that lives and does not answer.
type SilentError struct {
	Name string
	What string // "its supervisor (pid 42)"
	Err  error
}

func (e *SilentError) Error() string {
	return fmt.Sprintf("VM %q: %s does not answer: %v", e.Name, e.What, e.Err)
}

func (e *SilentError) Unwrap() error { return e.Err }

// AmbiguousError is an id prefix that several VMs share.
type AmbiguousError struct {
	Ref   string
	Names []string
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%q is the beginning of %d ids: %q", e.Ref, len(e.Names), e.Names)
}

// MemoryError is a VM that the host's memory does not hold.
type MemoryError struct {
	WantMiB, AvailableMiB, PromisedMiB int64
}

func (e *MemoryError) Error() string {
	text := fmt.Sprintf("%s of memory are asked for, and the host has %s available", vm.FormatMiB(e.WantMiB), vm.FormatMiB(e.AvailableMiB))
	if e.PromisedMiB > 0 {
		text += fmt.Sprintf(", of which running VMs may still take %s", vm.FormatMiB(e.PromisedMiB))
	}
	return text
}
