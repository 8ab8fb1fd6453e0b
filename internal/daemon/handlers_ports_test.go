package daemon

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"banger/internal/api"
	"banger/internal/channel/control"
	"banger/internal/supervisor"
	"banger/internal/vm"
)

func TestShowPorts(t *testing.T) {
	own, loopback, all := netip.MustParseAddr("127.16.0.1"), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::")
	at := netip.MustParseAddrPort("127.0.0.1:8080")
	s := supervisor.PortsState{Own: own, Forwards: []supervisor.ForwardState{
		{Forward: vm.Forward{Host: at, Guest: 80}},
		{Forward: vm.Forward{Host: netip.MustParseAddrPort("127.0.0.1:8081"), Guest: 81}, Problem: "in use"},
	}}
	s.Ports.Listening = []control.Listener{{Addr: netip.AddrPortFrom(loopback, 80), Process: "p", PID: 7}}
	for range 3 {
		s.Ports.Listening = append(s.Ports.Listening, control.Listener{Addr: netip.AddrPortFrom(all, 22)})
	}
	asked := 0
	got := showPorts(s, func(a netip.AddrPort) string {
		if asked++; a != netip.AddrPortFrom(own, 22) {
			t.Errorf("it is asked who holds %v", a)
		}
		return "sshd"
	})
	taken := api.Port{Port: 22, Addr: all, Problem: "at its name sshd of this host answers"}
	want := []api.Port{taken, taken, taken, {Port: 80, Addr: loopback, Process: "p", PID: 7, Endpoint: at}, {Port: 81, Problem: "in use"}}
	same := cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })}
	if diff := cmp.Diff(want, got, same); diff != "" {
		t.Errorf("showPorts (-want +got):\n%s", diff)
	}
	if asked != 1 {
		t.Errorf("for a port that the guest lists thrice it was asked %d times who holds it, want once: a look through /proc", asked)
	}
}
