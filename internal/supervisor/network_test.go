package supervisor

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"banger/internal/channel"
	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
	"banger/internal/network/policy"
	"banger/internal/vm"
	"banger/internal/vmm"
)

// silentMachine is one whose agent takes the host's carriers and answers no flow.
type silentMachine struct {
	vmm.Machine
	done   chan struct{}
	guests chan *flow.Session
	asked  chan struct{} // gets a value for each flow that the host opens
}

func (m *silentMachine) Done() <-chan struct{}    { return m.done }
func (m *silentMachine) Carrier() channel.Carrier { return carrierOf{silentMachine: m} }

type carrierOf struct {
	channel.Carrier
	*silentMachine
}

// whole is a pipe's end, as a stream whose way out can't be ended alone.
type whole struct{ net.Conn }

func (w whole) CloseWrite() error { return w.Close() }

func (c carrierOf) Dial(context.Context, uint32) (channel.Stream, error) {
	host, guest := net.Pipe()
	s := flow.New(guest, false, 0, func(f *flow.Flow) {
		c.asked <- struct{}{}
		f.Done(context.Background())
	})
	select {
	case c.guests <- s:
	default:
	}
	return whole{host}, nil
}

// What a guest is denied as its VM ends is in the log, though it never says which process asked.
func TestNetworkEnds(t *testing.T) {
	const all = 60
	r := &run{board: board{status: Status{Phase: Ready}, changed: make(chan struct{})}, log: slog.New(slog.DiscardHandler)}
	r.order.ID, r.order.Network, r.order.Dir = vm.NewID(), &Network{Policy: policy.Policy{Profile: policy.DenyAll}}, t.TempDir()
	m := &silentMachine{done: make(chan struct{}), guests: make(chan *flow.Session, 1), asked: make(chan struct{}, all)}
	n := r.openNetwork()
	n.carry(r, m)
	guest := <-m.guests
	var opening sync.WaitGroup
	for i := range all {
		to := netip.AddrPortFrom(netip.MustParseAddr("93.184.216.34"), uint16(1000+i))
		request := netflow.Request{Kind: netflow.Connect, Addr: to, From: netip.MustParseAddrPort("10.0.2.15:40000")}
		opening.Go(func() { guest.Open(t.Context(), request.Marshal()) }) // ends with guest
	}
	for range all {
		<-m.asked
	}
	close(m.done)
	n.close()
	guest.Close()
	opening.Wait()
	if events := logged(t, filepath.Join(r.order.Dir, NetworkLogFile)); len(events) != all {
		t.Fatalf("the log has %d denials, want %d", len(events), all)
	}
}

// Before the VMM is launched a network is not there yet, and is not said to be none.
func TestNetworkBeforeLaunch(t *testing.T) {
	for _, tt := range []struct {
		name    string
		network *Network
		profile policy.Profile // "" for no network
		check   int
		says    string
	}{
		{"user", &Network{Policy: policy.Policy{Profile: policy.Dev}}, policy.Dev, http.StatusConflict, "is starting: its network is not there yet"},
		{"none", nil, "", http.StatusOK, "has no network"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &run{board: board{changed: make(chan struct{})}, log: slog.New(slog.DiscardHandler)}
			r.order.Name, r.order.Network = "dev", tt.network
			w := httptest.NewRecorder()
			r.serveNetwork(w, httptest.NewRequest("GET", pathNetwork, nil))
			var got NetworkState
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
				t.Fatalf("it answers %d %s, %v", w.Code, w.Body, err)
			}
			if tt.profile == "" && got.Policy != nil || tt.profile != "" && (got.Policy == nil || got.Policy.Profile != tt.profile) {
				t.Errorf("its policy is %+v, want %q", got.Policy, tt.profile)
			}
			w = httptest.NewRecorder()
			r.serveNetwork(w, httptest.NewRequest("GET", pathNetwork+"?name=a.example&port=443", nil))
			if w.Code != tt.check {
				t.Errorf("asked about a connection it answers %d %s, want %d", w.Code, w.Body, tt.check)
			}
			w = httptest.NewRecorder()
			r.servePolicy(w, httptest.NewRequest("POST", pathPolicy, strings.NewReader("{}")))
			if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), tt.says) {
				t.Errorf("given a policy it answers %d %s, want %q", w.Code, w.Body, tt.says)
			}
		})
	}
}
