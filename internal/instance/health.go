package instance

import (
	"context"
	"fmt"
	"time"

	"banger/internal/channel/control"
	"banger/internal/supervisor"
	"banger/internal/vm"
)

// Health is how a VM is.
type Health struct {
	State vm.State
	// Problems says what is wrong, a line each; none means that it is well.
	Problems []string
	// Guest is what the guest's agent says; nil if it does not answer.
	Guest *control.Health
}

// healthLimit bounds the question to the guest's agent.
const healthLimit = 5 * time.Second

// Health asks the VM's supervisor and its guest's agent how they are. It waits
// for no verb, and 5 s at most.
func (i *Instance) Health(ctx context.Context) Health {
	v := i.View()
	h := Health{State: v.Record.State}
	add := func(format string, args ...any) { h.Problems = append(h.Problems, fmt.Sprintf(format, args...)) }
	if v.NotRecorded != "" {
		add("its state could not be recorded: %s", v.NotRecorded)
	}
	if v.Record.State != vm.Running {
		add("it is %s", v.Record.State)
	}
	if !v.HasRun {
		return h
	}
	if !v.Silent.IsZero() {
		add("its supervisor does not answer since %s", v.Silent.Format(time.RFC3339))
	}
	if v.Status.Held != "" {
		add("its VMM holds it still: %s", v.Status.Held)
	}
	switch v.Status.Disk {
	case vm.DiskErrors:
		add("its disk gave errors")
	case vm.DiskReadOnly:
		add("its disk gave errors, and its root takes no more writes")
	}
	if v.Record.State == vm.Running && v.Silent.IsZero() {
		ctx, cancel := context.WithTimeout(ctx, healthLimit)
		defer cancel()
		guest, err := supervisor.NewClient(i.Dir()).Health(ctx)
		if err != nil {
			add("its agent does not answer: %v", err)
		} else {
			h.Guest = &guest
		}
	}
	return h
}
