package supervisor

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"

	"banger/internal/channel/control"
	"banger/internal/hint"
	"banger/internal/vm"
)

// PortsState is what listens in a run's guest, and what is forwarded to it.
type PortsState struct {
	// Own is the VM's own address on the host; Auto says that each port is forwarded to there.
	Own  netip.Addr `json:"own"`
	Auto bool       `json:"auto,omitempty"`
	// Ports are as the guest tells them; processes' names are escaped.
	Ports    control.Ports  `json:"ports"`
	Forwards []ForwardState `json:"forwards,omitempty"`
}

// ForwardState is a forward of a run's.
type ForwardState struct {
	vm.Forward
	Auto bool `json:"auto,omitempty"`
	// Problem says why it does not listen; "" if it does.
	Problem string `json:"problem,omitempty"`
}

// ForwardChange makes or ends a forward.
type ForwardChange struct {
	Add *vm.Forward `json:"add,omitempty"`
	// Remove is a forward's address on the host. Connections that it carries go on.
	Remove netip.AddrPort `json:"remove,omitzero"`
}

func (f *forwards) state() PortsState {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := PortsState{Own: f.own, Auto: f.auto, Ports: f.ports}
	s.Ports.Listening = slices.Clone(f.ports.Listening)
	for _, g := range f.list {
		shown := ForwardState{Forward: g.Forward, Auto: g.auto}
		if g.err != nil {
			shown.Problem = g.err.Error()
		}
		s.Forwards = append(s.Forwards, shown)
	}
	return s
}

func (r *run) servePorts(w http.ResponseWriter, _ *http.Request) {
	n := r.network.Load()
	if n == nil {
		s := PortsState{Own: r.order.ID.Loopback()}
		if p := r.listens.Load(); p != nil {
			s.Ports = *p
		}
		answer(w, http.StatusOK, s)
		return
	}
	answer(w, http.StatusOK, n.forwards.state())
}

func (r *run) serveForward(w http.ResponseWriter, req *http.Request) {
	var change ForwardChange
	if !r.read(w, req, verbForward, &change) {
		return
	}
	n := r.network.Load()
	if n == nil {
		refuse(w, r.noNetwork())
		return
	}
	err := errors.New("there is no change in the request")
	switch {
	case change.Add != nil:
		err = n.forwards.add(*change.Add, false)
	case n.forwards.remove(change.Remove):
		err = nil
	case change.Remove.IsValid():
		err = errors.New("no forward listens on " + change.Remove.String())
	}
	if err != nil {
		refuse(w, &Refusal{Code: CodeState, Message: err.Error(), Hint: hint.Of(err)})
		return
	}
	answer(w, http.StatusOK, n.forwards.state())
}

// serveFlows answers another VM's supervisor, whose guest connects to what listens in this
// one's.
func (r *run) serveFlows(w http.ResponseWriter, req *http.Request) {
	s, _ := r.now()
	if err := check(s.Phase, verbFlows); err != nil {
		refuse(w, err)
		return
	}
	n := r.network.Load()
	if n == nil || req.Header.Get("Upgrade") != Upgrade {
		refuse(w, r.noNetwork())
		return
	}
	conn, buffered, err := r.upgrade(w)
	if err != nil {
		return
	}
	n.forwards.carry(conn, buffered)
}
