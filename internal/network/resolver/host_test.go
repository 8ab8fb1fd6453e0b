package resolver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

func TestHostAsksServers(t *testing.T) {
	long := strings.Repeat("a", 63) + "." + strings.Repeat("b", 63) + "." + strings.Repeat("c", 63) + "." + strings.Repeat("d", 61) + "."
	chain := []dnsmessage.Resource{record("c9.example.org.", 1, "A", "192.0.2.9")}
	for i := range 9 {
		chain = append(chain, record(fmt.Sprintf("c%d.example.org.", i), 1, "CNAME", fmt.Sprintf("c%d.example.org.", i+1)))
	}
	s := serve(t, zone(append(chain,
		record("www.example.org.", 300, "CNAME", "cdn.example.net."),
		record("cdn.example.net.", 60, "A", "192.0.2.1"),
		record("cdn.example.net.", 60, "A", "192.0.2.2"),
		record("zero.example.org.", 0, "A", "192.0.2.3"),
		record("example.org.", 5, "MX", "mail.example.org."),
		record("_x._tcp.example.org.", 5, "SRV", "x.example.org."),
		record("example.org.", 5, "TXT", "v=1"),
		record("loop.example.org.", 5, "CNAME", "loop.example.org."),
		record(long, 5, "A", "192.0.2.4"))...))
	h := host(t, s, "nameserver 127.0.0.1\nsearch example.org\noptions ndots:5\n", "192.0.2.77 Pinned.example.org alias # x\nfe80::1%eth0 six\nbad line\n")
	rows := []struct {
		name string
		t    Type
		want string
		ttl  int
	}{
		{"www.example.org", dnsmessage.TypeA, "www.example.org. CNAME cdn.example.net.\ncdn.example.net. A 192.0.2.1\ncdn.example.net. A 192.0.2.2", 60},
		{"WWW.Example.Org.", dnsmessage.TypeAAAA, "www.example.org. CNAME cdn.example.net.", 300},
		{"www.example.org", dnsmessage.TypeCNAME, "www.example.org. CNAME cdn.example.net.", 300},
		{"zero.example.org", dnsmessage.TypeA, "zero.example.org. A 192.0.2.3", 0},
		{"example.org", dnsmessage.TypeMX, "example.org. MX mail.example.org.", 5},
		{"_x._tcp.example.org", dnsmessage.TypeSRV, "_x._tcp.example.org. SRV x.example.org.", 5},
		{"example.org", dnsmessage.TypeTXT, "example.org. TXT v=1", 5},
		{"missing.example.org", dnsmessage.TypeA, "name error", 0},
		{"www", dnsmessage.TypeA, "name error", 0}, // the search list is not applied
		{"c1.example.org", dnsmessage.TypeA, "9 records", 1},
		{"c0.example.org", dnsmessage.TypeA, "error", 0},
		{"loop.example.org", dnsmessage.TypeA, "error", 0},
		{long, dnsmessage.TypeA, long + " A 192.0.2.4", 5},
		{"a" + long, dnsmessage.TypeA, "error", 0},
		{"", dnsmessage.TypeA, "error", 0},
		{"a b.example.org", dnsmessage.TypeA, "error", 0},
		{"a\x00b.example.org", dnsmessage.TypeA, "error", 0},
		{"pinned.EXAMPLE.org", dnsmessage.TypeA, "pinned.example.org. A 192.0.2.77", 0},
		{"pinned.example.org", dnsmessage.TypeAAAA, "", 0},
		{"alias", dnsmessage.TypeA, "alias. A 192.0.2.77", 0},
		{"six", dnsmessage.TypeAAAA, "six. AAAA fe80::1", 0},
	}
	for _, row := range rows {
		res, err := h.Lookup(t.Context(), row.name, row.t)
		got := lines(res)
		switch {
		case err != nil:
			got = "error"
		case res.Code == dnsmessage.RCodeNameError:
			got = "name error"
		case len(res.Records) > 4:
			got = strconv.Itoa(len(res.Records)) + " records"
		}
		if got != row.want || res.TTL != time.Duration(row.ttl)*time.Second {
			t.Errorf("Lookup(%.60q, %s) = %q, %v (%v), want %q, %d s", row.name, typeName(row.t), got, res.TTL, err, row.want, row.ttl)
		}
	}
	addrs, ttl, err := h.Addresses(t.Context(), "www.example.org")
	if err != nil || len(addrs) != 2 || ttl != time.Minute {
		t.Errorf("Addresses(www.example.org) = %v, %v, %v, want two for a minute", addrs, ttl, err)
	}
}

func TestHostFollowsBareAlias(t *testing.T) {
	// Some forwarders answer with the alias only.
	full := zone(record("www.example.org.", 9, "CNAME", "x.example.net."), record("x.example.net.", 9, "A", "192.0.2.1"))
	s := serve(t, func(q dnsmessage.Message, tcp bool) []byte {
		if q.Questions[0].Name.String() == "www.example.org." {
			return message(q, dnsmessage.RCodeSuccess, record("www.example.org.", 9, "CNAME", "x.example.net."), record("evil.example.com.", 9, "A", "192.0.2.66"))
		}
		return full(q, tcp)
	})
	h := host(t, s, "nameserver 127.0.0.1\n", "")
	res, err := h.Lookup(t.Context(), "www.example.org", dnsmessage.TypeA)
	if want := "www.example.org. CNAME x.example.net.\nx.example.net. A 192.0.2.1"; err != nil || lines(res) != want {
		t.Errorf("Lookup = %q, %v, want %q", lines(res), err, want)
	}
}

func TestHostTruncatedThenTCP(t *testing.T) {
	big := strings.Repeat("x", 250)
	s := serve(t, func(q dnsmessage.Message, tcp bool) []byte {
		if !tcp {
			m := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, Truncated: true}, Questions: q.Questions}
			out, _ := m.Pack()
			return out
		}
		return message(q, dnsmessage.RCodeSuccess, record("example.org.", 9, "TXT", big), record("example.org.", 9, "TXT", big), record("example.org.", 9, "TXT", big))
	})
	for _, options := range []string{"", "options use-vc\n", "options edns0 rotate timeout:3 attempts:1\n"} {
		h := host(t, s, "nameserver 127.0.0.1\n"+options, "")
		before := s.count()
		res, err := h.Lookup(t.Context(), "example.org", dnsmessage.TypeTXT)
		if err != nil || len(res.Records) != 3 {
			t.Errorf("with %q: Lookup = %d records, %v, want 3", options, len(res.Records), err)
		}
		want := 2
		if strings.Contains(options, "use-vc") {
			want = 1
		}
		if n := s.count() - before; n != want {
			t.Errorf("with %q: %d messages, want %d", options, n, want)
		}
	}
}

func TestHostOldServerWithoutEDNS(t *testing.T) {
	s := serve(t, func(q dnsmessage.Message, _ bool) []byte {
		if len(q.Additionals) > 0 {
			m := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, RCode: dnsmessage.RCodeFormatError}}
			out, _ := m.Pack()
			return out
		}
		return message(q, dnsmessage.RCodeSuccess, record("example.org.", 9, "A", "192.0.2.1"))
	})
	h := host(t, s, "nameserver 127.0.0.1\noptions edns0\n", "")
	if res, err := h.Lookup(t.Context(), "example.org", dnsmessage.TypeA); err != nil || len(res.Records) != 1 {
		t.Errorf("Lookup = %v, %v, want an address", res, err)
	}
}

func TestHostSecondServer(t *testing.T) {
	t.Parallel() // it takes a server's 1 s
	var silent atomic.Bool
	first, second := serveTwo(t, func(q dnsmessage.Message, _ bool) []byte {
		if silent.Load() {
			return nil
		}
		return message(q, dnsmessage.RCodeServerFailure)
	}, zone(record("example.org.", 9, "A", "192.0.2.1")))
	for _, row := range []struct {
		conf   string
		silent bool
	}{
		{"nameserver 127.0.0.1\nnameserver 127.0.0.2\n", false},                    // SERVFAIL
		{"nameserver 127.0.0.1\nnameserver 127.0.0.2\noptions timeout:1\n", true},  // slow
		{"nameserver 127.0.0.3\nnameserver 127.0.0.2\noptions timeout:2\n", false}, // nobody listens
	} {
		silent.Store(row.silent)
		h := host(t, first, row.conf, "")
		if res, err := h.Lookup(t.Context(), "example.org", dnsmessage.TypeA); err != nil || len(res.Records) != 1 {
			t.Errorf("with %q: Lookup = %v, %v, want an address", row.conf, res, err)
		}
	}
	if second.count() < 3 {
		t.Errorf("the second server was asked %d times, want one for each row", second.count())
	}
}

func TestHostRotates(t *testing.T) {
	good := zone(record("example.org.", 9, "A", "192.0.2.1"))
	first, second := serveTwo(t, good, good)
	h := host(t, first, "nameserver 127.0.0.1\nnameserver 127.0.0.2\noptions rotate\n", "")
	for range 4 {
		if _, err := h.Lookup(t.Context(), "example.org", dnsmessage.TypeA); err != nil {
			t.Fatal(err)
		}
	}
	if first.count() != 2 || second.count() != 2 {
		t.Errorf("the servers were asked %d and %d times, want 2 each", first.count(), second.count())
	}
}

func TestHostServerDown(t *testing.T) {
	s := serve(t, zone())
	h := host(t, s, "nameserver 127.0.0.9\noptions attempts:1\n", "") // nobody listens there
	if _, err := h.Lookup(t.Context(), "example.org", dnsmessage.TypeA); err == nil || !strings.Contains(err.Error(), "127.0.0.9") {
		t.Errorf("Lookup = %v, want an error that names the server", err)
	}
	if _, _, err := h.Addresses(t.Context(), "example.org"); err == nil {
		t.Error("Addresses: no error")
	}
}

func TestHostSlowServerIsBounded(t *testing.T) {
	s := serve(t, func(dnsmessage.Message, bool) []byte { return nil })
	h := host(t, s, "nameserver 127.0.0.1\noptions timeout:30 attempts:5\n", "")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // as the limit of 10 s is
	defer cancel()
	if _, err := h.Lookup(ctx, "example.org", dnsmessage.TypeA); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Lookup = %v, want an error of the deadline", err)
	}
}

func TestHostPassesOverOthersAnswers(t *testing.T) {
	t.Parallel() // it takes a server's 1 s
	s := serve(t, func(q dnsmessage.Message, tcp bool) []byte {
		if !tcp {
			q.ID++
		}
		return message(q, dnsmessage.RCodeSuccess, record("example.org.", 9, "A", "192.0.2.66"))
	})
	h := host(t, s, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n", "")
	if res, err := h.Lookup(t.Context(), "example.org", dnsmessage.TypeA); err == nil {
		t.Errorf("Lookup = %v, want none: the answer has another id", lines(res))
	}
}

func TestHostSeesChangedFiles(t *testing.T) {
	first, _ := serveTwo(t, zone(record("example.org.", 9, "A", "192.0.2.1")), zone(record("example.org.", 9, "A", "192.0.2.2")))
	h := host(t, first, "nameserver 127.0.0.1\n", "")
	check := func(want string) {
		t.Helper()
		addrs, _, err := h.Addresses(t.Context(), "example.org")
		if got := fmt.Sprint(addrs); err != nil || got != "["+want+"]" {
			t.Errorf("Addresses = %s, %v, want %s", got, err, want)
		}
	}
	check("192.0.2.1")
	write(t, h.ResolvConf, "nameserver 127.0.0.2\n") // the same size, perhaps in the same tick
	check("192.0.2.2")
	write(t, h.ResolvConf+".new", "nameserver 127.0.0.1\n")
	if err := os.Rename(h.ResolvConf+".new", h.ResolvConf); err != nil {
		t.Fatal(err)
	}
	check("192.0.2.1")
	write(t, h.Hosts, "192.0.2.3 example.org\n")
	check("192.0.2.3")
	if err := os.Remove(h.Hosts); err != nil {
		t.Fatal(err)
	}
	check("192.0.2.1")
}

func TestParseConf(t *testing.T) {
	home := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	rows := []struct {
		text string
		want conf
	}{
		{"", conf{home, 5 * time.Second, 2, false, false, false}},
		{"; c\n# c\nnameserver\nnameserver x\noptions\nsortlist a\n", conf{home, 5 * time.Second, 2, false, false, false}},
		{"options timeout:99 attempts:99 rotate edns0 use-vc\n", conf{home, 30 * time.Second, 5, true, true, true}},
		{"options timeout:0 attempts:-1 timeout: attempts\n", conf{home, 5 * time.Second, 2, false, false, false}},
		{"options timeout:2\noptions rotate", conf{home, 2 * time.Second, 2, true, false, false}},
		{"nameserver 192.0.2.1\r\nnameserver\tfe80::1%eth0\n nameserver 192.0.2.3\nnameserver 192.0.2.4\n",
			conf{[]netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("192.0.2.3")}, 5 * time.Second, 2, false, false, false}},
	}
	for _, row := range rows {
		if diff := cmp.Diff(row.want, parseConf(row.text), cmp.AllowUnexported(conf{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("parseConf(%q): -want +got\n%s", row.text, diff)
		}
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	s := serve(t, zone())
	h := host(t, s, "", "")
	h.Hosts = t.TempDir()
	if _, err := h.Lookup(t.Context(), "example.org", dnsmessage.TypeA); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("Lookup with a directory as hosts file: %v, want an error that says so", err)
	}
	h = host(t, s, "", "")
	if err := os.Truncate(h.Hosts, maxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Lookup(t.Context(), "example.org", dnsmessage.TypeA); err == nil || !strings.Contains(err.Error(), "16 MiB") {
		t.Errorf("Lookup with a huge hosts file: %v, want an error that says so", err)
	}
}
