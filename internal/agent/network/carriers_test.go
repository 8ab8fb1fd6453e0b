package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
)

// A request whose carrier ends goes by the next one that the host opens.
func TestOpenByTheNextCarrier(t *testing.T) {
	n := &Network{}
	n.carriers.init()
	l, err := net.Listen("unix", t.TempDir()+"/carriers")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- n.carriers.serve(l, func(f *flow.Flow) { f.Refuse(netflow.Refused, "") }) }()
	t.Cleanup(func() {
		l.Close()
		if err := <-served; !errors.Is(err, net.ErrClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	asked := make(chan struct{}, 1)
	carrier := func(handle func(*flow.Flow)) *flow.Session {
		c, err := net.Dial("unix", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		s := flow.New(c, true, 0, handle)
		t.Cleanup(func() { s.Close() })
		return s
	}
	over := make(chan struct{})
	first := carrier(func(*flow.Flow) { // no answer
		asked <- struct{}{}
		<-over
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got := make(chan error, 1)
	go func() {
		f, err := n.open(ctx, netflow.Request{Kind: netflow.Connect, Addr: netip.MustParseAddrPort("192.0.2.1:80")})
		if err == nil {
			f.Close()
		}
		got <- err
	}()
	<-asked
	go first.Close() // ends with the handler
	<-first.Done()
	close(over)
	carrier(func(f *flow.Flow) { f.Accept() })
	if err := <-got; err != nil {
		t.Errorf("the request by the next carrier: %v", err)
	}
}
