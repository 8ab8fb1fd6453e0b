package policy

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// A change of routes is told, and counts by then; those that follow each other are one.
func TestWatch(t *testing.T) {
	inNetwork(t)
	wan := device(t, "wan0", "5.9.10.2/29")
	route(t, wan, 0, "0.0.0.0/0 via 5.9.10.1")
	device(t, "vpn0", "5.9.20.2/29")
	vpn, err := netlink.LinkByName("vpn0")
	if err != nil {
		t.Fatal(err)
	}
	here, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	h, err := netlink.NewHandleAt(here)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	reaches(t, "93.184.216.34 default")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const routes = 100
	adding := make(chan error, 1)
	go func() { // ends with the routes
		defer close(adding)
		for i := range routes {
			_, dst, _ := net.ParseCIDR("93.184.216.0/24")
			dst.IP[2] += byte(i) // the first may come before Watch listens
			if err := h.RouteAdd(&netlink.Route{LinkIndex: vpn.Attrs().Index, Dst: dst}); err != nil {
				adding <- err
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	told := 0
	// In this thread, which has the test's network.
	err = Kernel{}.Watch(ctx, func() {
		told++
		reaches(t, "93.184.216.34 93.184.216.0/24")
		if route, err := h.RouteList(vpn, netlink.FAMILY_V4); err == nil && len(route) > routes {
			cancel()
		}
	})
	if err != nil {
		t.Errorf("Watch: %v", err)
	}
	if told == 0 || told > 5 {
		t.Errorf("%d routes, one after the other, are %d changes", routes, told)
	}
	if err := <-adding; err != nil {
		t.Fatal(err)
	}
}
