package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
	"banger/internal/network/dial"
	"banger/internal/network/policy"
	"banger/internal/paths"
)

// otherLimit bounds a connection to another VM's guest: that VM's supervisor gives its
// guest forwardLimit for each address that it tries.
const otherLimit = 30 * time.Second

// others are the other VMs of this host's that run. A supervisor carries its guest's
// connections to their guests by way of their supervisors. It is the egress.VMs of a run. Its
// methods may be called at once.
type others struct {
	dir string // in which each VM has its directory

	mu       sync.Mutex
	closed   bool
	sessions map[string]*flow.Session // of the flows to a VM, by its directory
}

// Takes implements egress.VMs. A VM that takes no connections may not run, or have no network.
func (o *others) Takes(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, otherLimit)
	defer cancel()
	_, err := o.session(ctx, strings.TrimSuffix(name, policy.VMSuffix))
	return err
}

// Connect implements egress.VMs.
func (o *others) Connect(ctx context.Context, name string, port uint16) (flow.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, otherLimit)
	defer cancel()
	name = strings.TrimSuffix(name, policy.VMSuffix)
	s, err := o.session(ctx, name)
	if err != nil {
		return nil, &dial.Error{Reason: dial.Refused, Err: err}
	}
	// Which address of its guest's is tried is the other supervisor's matter.
	r := netflow.Request{Kind: netflow.Listener, Addr: netip.AddrPortFrom(guestAddrs[0], port)}
	f, err := s.Open(ctx, r.Marshal())
	no := (*flow.RefusedError)(nil)
	switch {
	case err == nil:
		return f, nil
	case errors.As(err, &no) && (no.Code == netflow.Refused || no.Code == netflow.Busy):
		return nil, &dial.Error{Reason: dial.Refused, Err: fmt.Errorf("port %d of VM %q: %w", port, name, err)}
	case errors.Is(err, flow.ErrSession):
		return nil, &dial.Error{Reason: dial.Refused, Err: fmt.Errorf("VM %q has ended", name)}
	}
	return nil, &dial.Error{Reason: dial.NoRoute, Err: fmt.Errorf("port %d of VM %q: %w", port, name, err)}
}

// session is the one that carries the flows to a VM. It ends with that VM's run.
func (o *others) session(ctx context.Context, name string) (*flow.Session, error) {
	dir, err := o.find(name) // each time: a name may be another VM's by now
	if err != nil {
		return nil, err
	}
	if s := o.live(dir, nil); s != nil {
		return s, nil
	}
	carrier, err := NewClient(dir).Flows(ctx)
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) { // of its socket
		return nil, fmt.Errorf("VM %q does not run", name)
	}
	if err != nil {
		return nil, fmt.Errorf("VM %q does not take connections: %w", name, err)
	}
	s := flow.New(carrier, true, 0, func(f *flow.Flow) { f.Refuse(netflow.Refused, "not here") })
	kept := o.live(dir, s)
	if kept != s {
		s.Close()
	}
	if kept == nil {
		return nil, errors.New("the VM is ending")
	}
	return kept, nil
}

// live is the session to the VM in dir that goes on, else s, which is kept then; nil if there is none.
func (o *others) live(dir string, s *flow.Session) *flow.Session {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil
	}
	if old := o.sessions[dir]; old != nil && old.Err() == nil {
		return old
	}
	delete(o.sessions, dir)
	if s != nil {
		if o.sessions == nil {
			o.sessions = map[string]*flow.Session{}
		}
		o.sessions[dir] = s
	}
	return s
}

// find is the directory of the VM with that name.
func (o *others) find(name string) (string, error) {
	entries, err := os.ReadDir(o.dir)
	if err != nil {
		return "", fmt.Errorf("look for VM %q: %w", name, err)
	}
	for _, e := range entries {
		dir := filepath.Join(o.dir, e.Name())
		if have, err := nameOf(dir); err == nil && have == name {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no VM %q runs", name)
}

// nameOf is the name of the VM in dir as its record has it now: its order has that of its last start.
func nameOf(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, paths.RecordFile))
	if err != nil {
		return "", err
	}
	var r struct {
		Spec struct{ Name string }
	}
	err = json.Unmarshal(text, &r)
	return r.Spec.Name, err
}

// name is the VM's name now.
func (r *run) name() string {
	if name, err := nameOf(r.order.Dir); err == nil {
		return name
	}
	return r.order.Name
}

// close ends all sessions, and with them what they carry.
func (o *others) close() {
	o.mu.Lock()
	o.closed = true
	sessions := o.sessions
	o.sessions = nil
	o.mu.Unlock()
	for _, s := range sessions {
		s.Close()
	}
}
