package cli

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"banger/internal/api"
)

// A host's resolver that does not answer is waited for once, however many VMs there are; what
// a guest says is printed without escapes.
func TestWritePorts(t *testing.T) {
	was := net.DefaultResolver
	defer func() { net.DefaultResolver = was }()
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	own := netip.MustParseAddr("127.16.0.1")
	dev := api.Ports{Name: "dev", Own: own, Ports: []api.Port{
		{Port: 80, Addr: netip.MustParseAddr("fe80::1%\x1b[2J"), Process: "a\x1b[2J", PID: 7, Endpoint: netip.AddrPortFrom(own, 80)},
	}}
	var text strings.Builder
	began := time.Now()
	writePorts(context.Background(), &text, []api.Ports{dev, dev, dev, dev, dev, dev})
	if took := time.Since(began); took > 3*resolveLimit {
		t.Errorf("six VMs took %v, want about %v", took, resolveLimit)
	}
	if strings.Contains(text.String(), "\x1b") || strings.Count(text.String(), "\t127.16.0.1:80\n") != 6 {
		t.Errorf("it prints %q", text.String())
	}
	dev.Ports[0].Endpoint = netip.AddrPort{} // nothing to be resolved
	began = time.Now()
	writePorts(context.Background(), io.Discard, []api.Ports{dev})
	if took := time.Since(began); took > resolveLimit/2 {
		t.Errorf("a VM without an address of its own took %v", took)
	}
}
