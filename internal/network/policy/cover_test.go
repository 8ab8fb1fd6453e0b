package policy

import (
	"net/netip"
	"slices"
	"testing"
)

// allButPrivate is 0.0.0.0/0 without 10/8, 172.16/12 and 192.168/16.
var allButPrivate = []string{
	"0.0.0.0/5", "8.0.0.0/7", "11.0.0.0/8", "12.0.0.0/6", "16.0.0.0/4", "32.0.0.0/3", "64.0.0.0/2", "128.0.0.0/3",
	"160.0.0.0/5", "168.0.0.0/6", "172.0.0.0/12", "172.32.0.0/11", "172.64.0.0/10", "172.128.0.0/9", "173.0.0.0/8",
	"174.0.0.0/7", "176.0.0.0/4", "192.0.0.0/9", "192.128.0.0/11", "192.160.0.0/13", "192.169.0.0/16",
	"192.170.0.0/15", "192.172.0.0/14", "192.176.0.0/12", "192.192.0.0/10", "193.0.0.0/8", "194.0.0.0/7",
	"196.0.0.0/6", "200.0.0.0/5", "208.0.0.0/4",
}

func TestPartOfDefault(t *testing.T) {
	for _, c := range []struct {
		prefix string
		all    []string
		want   bool
	}{
		{"0.0.0.0/1", []string{"0.0.0.0/1", "128.0.0.0/1"}, true},
		{"128.0.0.0/1", []string{"0.0.0.0/1", "128.0.0.0/1", "0.0.0.0/0"}, true},
		{"0.0.0.0/1", []string{"0.0.0.0/1"}, false},
		{"0.0.0.0/1", []string{"0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/2"}, true},
		{"0.0.0.0/1", []string{"0.0.0.0/1", "128.0.0.0/2"}, false},
		{"20.30.0.0/16", []string{"0.0.0.0/1", "128.0.0.0/1", "20.30.0.0/16"}, false},
		{"20.30.0.0/16", []string{"0.0.0.0/0", "20.30.0.0/16"}, false},
		{"64.0.0.0/2", allButPrivate, true},
		{"192.169.0.0/16", allButPrivate, true},
		{"64.0.0.0/2", slices.DeleteFunc(slices.Clone(allButPrivate), func(p string) bool { return p == "173.0.0.0/8" }), false},
		// Without a server's /24 it still is all.
		{"64.0.0.0/2", without(allButPrivate, "16.0.0.0/4", netip.MustParsePrefix("20.20.20.0/24")), true},
		{"::/1", []string{"::/1", "8000::/1"}, true},
		{"2000::/3", []string{"2000::/3"}, true},
		{"2000::/4", []string{"2000::/4"}, false},
		{"2a00::/12", []string{"2000::/3", "2a00::/12"}, false},
	} {
		var all []netip.Prefix
		for _, p := range c.all {
			all = append(all, netip.MustParsePrefix(p))
		}
		if got := partOfDefault(netip.MustParsePrefix(c.prefix), all); got != c.want {
			t.Errorf("partOfDefault(%s, %v) = %v, want %v", c.prefix, c.all, got, c.want)
		}
	}
}

// without cuts a hole into a prefix of the list.
func without(list []string, from string, hole netip.Prefix) []string {
	list = slices.DeleteFunc(slices.Clone(list), func(p string) bool { return p == from })
	for p := netip.MustParsePrefix(from); p != hole; {
		low, high := halves(p)
		if low.Contains(hole.Addr()) {
			p, list = low, append(list, high.String())
		} else {
			p, list = high, append(list, low.String())
		}
	}
	return list
}
