package instance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"banger/internal/hint"
	"banger/internal/progress"
	"banger/internal/supervisor"
	"banger/internal/vm"
)

// newID makes an id whose address on the host no other VM has.
func (s *Set) newID() vm.ID {
	for {
		id := vm.NewID()
		if !slices.ContainsFunc(s.All(), func(i *Instance) bool { return i.id.Loopback() == id.Loopback() }) {
			return id
		}
	}
}

// AddrOf is the address of the VM with that name; false if there is none.
func (s *Set) AddrOf(name string) (netip.Addr, bool) {
	for _, i := range s.All() {
		if i.Name() == name {
			return i.id.Loopback(), true
		}
	}
	return netip.Addr{}, false
}

// ForwardChange makes forwards or ends them, of a VM that runs at once.
type ForwardChange struct {
	Add    []vm.Forward
	Remove []netip.AddrPort // the forwards' addresses on the host
}

// Forward changes the VM's forwards, in the order of c. At an error, what came before it is
// done.
func (i *Instance) Forward(ctx context.Context, c ForwardChange, step progress.Func) error {
	v := verb{name: "forward", key: fmt.Sprintf("forward %v", c)}
	return i.do(ctx, v, step, func(ctx context.Context, _ progress.Func) error {
		for _, f := range c.Add {
			if err := i.addForward(ctx, f); err != nil {
				return err
			}
		}
		for _, at := range c.Remove {
			if err := i.removeForward(ctx, at); err != nil {
				return err
			}
		}
		return nil
	})
}

func (i *Instance) addForward(ctx context.Context, f vm.Forward) error {
	v := i.View()
	spec := v.Record.Spec
	spec.Network.Publish = slices.DeleteFunc(slices.Clone(spec.Network.Publish), func(g vm.Forward) bool { return g.Host == f.Host })
	spec.Network.Publish = append(spec.Network.Publish, f)
	cfg, err := i.set.cfg.Network()
	if err != nil {
		return err
	}
	if _, err := networkOf(spec.Network, cfg); err != nil {
		return err
	}
	if err := spec.Check(); err != nil {
		return err
	}
	if v.HasRun {
		if err := i.changeForward(ctx, supervisor.ForwardChange{Add: &f}); err != nil {
			return fmt.Errorf("forward %s to port %d of VM %q: %w", f.Host, f.Guest, spec.Name, err)
		}
	}
	return i.move("", func(r *vm.Record) { r.Spec.Network.Publish = spec.Network.Publish })
}

func (i *Instance) removeForward(ctx context.Context, at netip.AddrPort) error {
	v := i.View()
	spec := v.Record.Spec
	if known := slices.ContainsFunc(spec.Network.Publish, func(g vm.Forward) bool { return g.Host == at }); !known {
		err := errors.New("it does not run")
		if v.HasRun { // one may be left of a change that took the supervisor too long
			err = i.changeForward(ctx, supervisor.ForwardChange{Remove: at})
		}
		if silent := (*SilentError)(nil); err == nil || errors.As(err, &silent) {
			return err
		}
		return hint.Add(&vm.FieldError{Field: "remove", Err: fmt.Errorf("VM %q has no forward on %s", spec.Name, at)}, "banger vm ports "+spec.Name)
	}
	if v.HasRun {
		if err := i.changeForward(ctx, supervisor.ForwardChange{Remove: at}); err != nil {
			return fmt.Errorf("end the forward on %s: %w", at, err)
		}
	}
	return i.move("", func(r *vm.Record) {
		r.Spec.Network.Publish = slices.DeleteFunc(slices.Clone(r.Spec.Network.Publish), func(g vm.Forward) bool { return g.Host == at })
	})
}

func (i *Instance) changeForward(ctx context.Context, c supervisor.ForwardChange) error {
	return i.question(ctx, answerLimit, func(ctx context.Context, s *supervisor.Client) error {
		_, err := s.Forward(ctx, c)
		return err
	})
}

// Ports is what listens in the guest of a VM that runs, and what is forwarded to it; of
// another, only what will be.
func (i *Instance) Ports(ctx context.Context) (supervisor.PortsState, error) {
	v := i.View()
	if v.HasRun {
		var s supervisor.PortsState
		err := i.question(ctx, answerLimit, func(ctx context.Context, c *supervisor.Client) (err error) {
			s, err = c.Ports(ctx)
			return err
		})
		return s, err
	}
	n := v.Record.Spec.Network
	s := supervisor.PortsState{Own: i.id.Loopback(), Auto: n.AutoForward}
	for _, f := range n.Publish {
		s.Forwards = append(s.Forwards, supervisor.ForwardState{Forward: f, Problem: f.Host.String() + " when the VM runs"})
	}
	return s, nil
}
