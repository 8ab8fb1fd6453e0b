package vm

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseForward(t *testing.T) {
	for _, c := range []struct{ text, host, again string }{
		{"8080:80", "127.0.0.1:8080", "8080:80"},
		{"127.0.0.1:8080:80", "127.0.0.1:8080", "8080:80"},
		{"0.0.0.0:8080:80", "0.0.0.0:8080", "0.0.0.0:8080:80"},
		{"[::1]:8080:80", "[::1]:8080", "[::1]:8080:80"},
		{"127.0.0.7:1:80", "127.0.0.7:1", "127.0.0.7:1:80"},
	} {
		f, err := ParseForward(c.text)
		if err != nil || f.Host != netip.MustParseAddrPort(c.host) || f.Guest != 80 || f.String() != c.again {
			t.Errorf("ParseForward(%q) = %v, %v (%s), want %s to 80", c.text, f, err, f.Host, c.host)
		}
	}
	for text, want := range map[string]string{
		"":                   "no guest's port",
		"80":                 "no guest's port",
		"8080:":              "no port",
		":80":                "no port",
		"8080:0":             "no port",
		"8080:65536":         "no port",
		"8080:-1":            "no port",
		"8080:+1":            "no port",
		"0:80":               "no port",
		"a:80":               "no port",
		"localhost:8080:80":  "no address",
		"::1:8080:80":        "no address",
		"[127.0.0.1]:1:80":   "no address",
		"[fe80::1%lo]:1:80":  "no address",
		"1.2.3.4:5.6:80":     "no port",
		"8080:80/tcp":        "no port",
		"\x1b[31m:8080:80":   "no address",
		"127.0.0.1:8080:80:": "no port",
		"[::1:8080:80":       `"[::1" is no address`,
		"::1]:8080:80":       "no address",
		"[[::1]]:8080:80":    "no address",
		"[::1]:80":           `"[::1]" has no port of this host`,
		"224.0.0.1:8080:80":  "no address",
	} {
		if f, err := ParseForward(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseForward(%q) = %v, %v, want an error with %q", text, f, err, want)
		}
	}
}

func FuzzParseForward(f *testing.F) {
	f.Add("[::1]:8080:80")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseForward(text)
		if err != nil {
			return
		}
		if b, err := ParseForward(a.String()); err != nil || a != b {
			t.Errorf("ParseForward(%q) = %v, whose text gives %v, %v", text, a, b, err)
		}
	})
}

func TestCheckForwards(t *testing.T) {
	one := Forward{netip.MustParseAddrPort("127.0.0.1:8080"), 80}
	for want, n := range map[string]Network{
		"twice":                                  {Publish: []Forward{one, {one.Host, 81}}},
		"--publish: a VM without a network":      {Mode: NetNone, Publish: []Forward{one}},
		"--auto-forward: a VM without a network": {Mode: NetNone, AutoForward: true},
		"--egress: a VM without a network":       {Mode: NetNone, Egress: EgressDev},
		"--allow: a VM without a network":        {Mode: NetNone, Allow: []string{"a.example"}},
		"--deny: a VM without a network":         {Mode: NetNone, Deny: []string{"a.example"}},
		"at most 64":                             {Publish: make([]Forward, 65)},
		"a guest's port":                         {Publish: []Forward{{Host: one.Host}}},
	} {
		if err := n.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want an error with %q", n, err, want)
		}
	}
	if err := (Network{Publish: []Forward{one}}).Check(); err != nil {
		t.Error(err)
	}
}

func TestLoopback(t *testing.T) {
	within := netip.MustParsePrefix("127.0.0.0/8")
	seen := map[netip.Addr]bool{}
	for range 1000 {
		a := NewID().Loopback()
		b := a.As4()
		if !within.Contains(a) || b[1] < 16 || b[3] == 0 || b[3] == 255 {
			t.Fatalf("an id has the address %v", a)
		}
		seen[a] = true
	}
	if len(seen) < 990 {
		t.Errorf("1,000 ids have %d addresses", len(seen))
	}
	if got := ID("00000000000a0203").Loopback(); got != netip.MustParseAddr("127.26.2.48") {
		t.Errorf("Loopback = %v, want the address that the id has always had", got)
	}
}
