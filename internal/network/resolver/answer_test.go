package resolver

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

// allowed is a policy that allows names, and what lies below those with a dot in front.
type allowed []string

func (l allowed) Judge(name string, _ Type) Decision {
	d := Decision{Reason: "not on the list"}
	for _, n := range l {
		zone, suffix := strings.CutPrefix(n, ".")
		if name == n || suffix && strings.HasSuffix(name, n) {
			return Decision{Allow: true}
		}
		d.BelowAllowed = d.BelowAllowed || strings.HasSuffix(zone, "."+name)
	}
	return d
}

// upstream answers from a function and keeps what it was asked.
type upstream struct {
	answer func(name string, t Type) (Result, error)
	mu     sync.Mutex
	asked  []string
}

func (u *upstream) Lookup(ctx context.Context, name string, t Type) (Result, error) {
	u.mu.Lock()
	u.asked = append(u.asked, name)
	u.mu.Unlock()
	res, err := u.answer(name, t)
	res.TTL = shortest(res.Records)
	return res, err
}

// of answers from records.
func of(records ...dnsmessage.Resource) *upstream {
	return &upstream{answer: func(name string, t Type) (Result, error) {
		known := false
		for _, r := range records {
			known = known || Clean(r.Header.Name.String()) == name
		}
		if !known {
			return Result{Code: dnsmessage.RCodeNameError}, nil
		}
		_, picked, err := follow(name, t, records)
		return Result{Records: picked}, err
	}}
}

func question(name string, t Type) dnsmessage.Message {
	return dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 4711, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: t, Class: dnsmessage.ClassINET}},
	}
}

func withEDNS(m dnsmessage.Message, size int) dnsmessage.Message {
	var h dnsmessage.ResourceHeader
	if err := h.SetEDNS0(size, 0, false); err != nil {
		panic(err)
	}
	m.Additionals = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{}}}
	return m
}

func pack(t *testing.T, m dnsmessage.Message) []byte {
	t.Helper()
	out, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ask sends m and reads the answer, which must be one to it.
func ask(t *testing.T, r *Resolver, m dnsmessage.Message, tcp bool) dnsmessage.Message {
	t.Helper()
	msg := r.Answer(t.Context(), pack(t, m), tcp)
	var out dnsmessage.Message
	if err := out.Unpack(msg); err != nil {
		t.Fatalf("Answer is no message: %v (%x)", err, msg)
	}
	if out.ID != m.ID || !out.Response || !out.RecursionAvailable || out.RecursionDesired != m.RecursionDesired {
		t.Errorf("Answer has the header %v, want one to %v", out.Header, m.Header)
	}
	return out
}

// summary is an answer on one line: the code, then the records.
func summary(m dnsmessage.Message) string {
	out := []string{map[dnsmessage.RCode]string{0: "ok", 3: "none"}[m.RCode]}
	if out[0] == "" {
		out[0] = codeName(m.RCode)
	}
	if m.Truncated {
		out = append(out, "truncated")
	}
	for _, r := range m.Answers {
		out = append(out, line(r))
	}
	for _, r := range m.Authorities {
		soa := r.Body.(*dnsmessage.SOAResource)
		out = append(out, fmt.Sprintf("soa %d %d", r.Header.TTL, soa.MinTTL))
	}
	return strings.Join(out, "; ")
}

func TestAnswer(t *testing.T) {
	up := of(
		record("Www.Example.Org.", 300, "CNAME", "cdn.example.net."),
		record("cdn.example.net.", 60, "A", "192.0.2.1"),
		record("example.org.", 7200, "A", "192.0.2.2"),
		record("example.org.", 7200, "A", "192.0.2.3"),
		record("example.org.", 0, "AAAA", "2001:db8::2"),
		record("example.org.", 60, "MX", "mail.example.org."),
		record("_x._tcp.example.org.", 60, "SRV", "x.example.org."),
		record("synthetic.example.org.", 60, "A", "198.18.0.1"),
		record("example.org.", 60, "TXT", "v=1"))
	var refusals []Refusal
	r := &Resolver{
		Upstream: up, Policy: allowed{"example.org", ".example.org", "deep.below.example.com"}, Pins: NewPins(),
		Local: func(_ context.Context, name string) ([]netip.Addr, bool) {
			return []netip.Addr{netip.MustParseAddr("10.0.2.2")}, name == "host.banger.internal"
		},
		Report: func(_ context.Context, f Refusal) { refusals = append(refusals, f) },
	}
	rows := []struct {
		name  string
		t     Type
		want  string
		asked string // what the host was asked
	}{
		{"eXample.ORG.", dnsmessage.TypeA, "ok; eXample.ORG. A 192.0.2.2; eXample.ORG. A 192.0.2.3", "example.org"},
		{"example.org.", dnsmessage.TypeAAAA, "ok; example.org. AAAA 2001:db8::2", "example.org"},
		{"wwW.example.org.", dnsmessage.TypeA, "ok; wwW.example.org. CNAME cdn.example.net.; cdn.example.net. A 192.0.2.1", "www.example.org"},
		{"www.example.org.", dnsmessage.TypeAAAA, "ok; www.example.org. CNAME cdn.example.net.; soa 0 0", "www.example.org"},
		{"www.example.org.", dnsmessage.TypeCNAME, "ok; www.example.org. CNAME cdn.example.net.", "www.example.org"},
		{"example.org.", dnsmessage.TypeMX, "ok; example.org. MX mail.example.org.", "example.org"},
		{"_x._tcp.example.org.", dnsmessage.TypeSRV, "ok; _x._tcp.example.org. SRV x.example.org.", "_x._tcp.example.org"},
		{"example.org.", dnsmessage.TypeTXT, "ok; example.org. TXT v=1", "example.org"},
		{"synthetic.example.org.", dnsmessage.TypeA, "ok; synthetic.example.org. A 198.18.0.1", "synthetic.example.org"},
		{"1.0.18.198.in-addr.arpa.", dnsmessage.TypePTR, "none; soa 0 0", ""}, // not pinned
		{"missing.example.org.", dnsmessage.TypeA, "none; soa 0 0", "missing.example.org"},
		{"example.org.", dnsmessage.TypeHTTPS, "ok; soa 0 0", ""},
		{"example.org.", dnsmessage.TypeSVCB, "ok; soa 0 0", ""},
		{"example.org.", dnsmessage.TypeNS, "ok; soa 0 0", ""},
		{"example.org.", dnsmessage.TypeSOA, "ok; soa 0 0", ""},
		{"example.org.", Type(10), "ok; soa 0 0", ""}, // NULL, which tunnels like
		{"example.org.", dnsmessage.TypeALL, "REFUSED", ""},
		{"example.org.", typeAXFR, "REFUSED", ""},
		{"cdn.example.net.", dnsmessage.TypeA, "none; soa 0 0", ""},
		{"notexample.org.", dnsmessage.TypeA, "none; soa 0 0", ""},
		{"cdn.example.net.", dnsmessage.TypeHTTPS, "none; soa 0 0", ""},
		{"cdn.example.net.", dnsmessage.TypeTXT, "none; soa 0 0", ""},
		{"example.com.", dnsmessage.TypeA, "ok; soa 0 0", ""},
		{"below.example.com.", dnsmessage.TypeAAAA, "ok; soa 0 0", ""},
		{"le.com.", dnsmessage.TypeA, "none; soa 0 0", ""},
		{"a\x00.example.org.", dnsmessage.TypeA, "none; soa 0 0", ""},
		{"a b.example.org.", dnsmessage.TypeA, "none; soa 0 0", ""},
		{"é.example.org.", dnsmessage.TypeA, "none; soa 0 0", ""},
		{".", dnsmessage.TypeA, "none; soa 0 0", ""},
		{"host.banger.INTERNAL.", dnsmessage.TypeA, "ok; host.banger.INTERNAL. A 10.0.2.2", ""},
		{"host.banger.internal.", dnsmessage.TypeAAAA, "ok; soa 0 0", ""},
		{"host.banger.internal.", dnsmessage.TypeTXT, "ok; soa 0 0", ""},
		{"x.internal.", dnsmessage.TypeA, "none; soa 0 0", ""},
		{"localhost.", dnsmessage.TypeA, "ok; localhost. A 127.0.0.1", ""},
		{"a.localhost.", dnsmessage.TypeAAAA, "ok; a.localhost. AAAA ::1", ""},
		{"2.2.0.192.in-addr.arpa.", dnsmessage.TypePTR, "ok; 2.2.0.192.in-addr.arpa. PTR example.org.", ""},
		{"1.2.0.192.in-addr.arpa.", dnsmessage.TypePTR, "ok; 1.2.0.192.in-addr.arpa. PTR www.example.org.", ""},
		{"2.2.0.192.in-addr.arpa.", dnsmessage.TypeTXT, "ok; soa 0 0", ""},
		{"1.0.0.10.in-addr.arpa.", dnsmessage.TypePTR, "none; soa 0 0", ""},
		{"0.192.in-addr.arpa.", dnsmessage.TypePTR, "none; soa 0 0", ""},
		{"in-addr.arpa.", dnsmessage.TypePTR, "none; soa 0 0", ""},
		{"x.ip6.arpa.", dnsmessage.TypePTR, "none; soa 0 0", ""},
		{"2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", dnsmessage.TypePTR,
			"ok; 2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR example.org.", ""},
		{"example.org.", dnsmessage.TypePTR, "ok; soa 0 0", ""},
	}
	for _, row := range rows {
		up.asked = nil
		for _, tcp := range []bool{false, true} {
			got := ask(t, r, question(row.name, row.t), tcp)
			if s := summary(got); s != row.want {
				t.Errorf("Answer(%q, %s) = %q, want %q", row.name, typeName(row.t), s, row.want)
			}
			for _, a := range got.Answers {
				if a.Header.TTL > 5 {
					t.Errorf("Answer(%q, %s): the guest may keep it for %d s, want at most 5", row.name, typeName(row.t), a.Header.TTL)
				}
			}
		}
		want := []string{row.asked, row.asked}
		if row.asked == "" {
			want = nil
		}
		if diff := cmp.Diff(want, up.asked); diff != "" {
			t.Errorf("Answer(%q, %s): the host was asked: -want +got\n%s", row.name, typeName(row.t), diff)
		}
	}
	if got := r.Pins.Names(netip.MustParseAddr("192.0.2.1")); !cmp.Equal(got, []string{"www.example.org"}) {
		t.Errorf("the alias's address is pinned to %q, want the name that was asked", got)
	}
	denied := 0
	for _, f := range refusals {
		if f.Denied && f.Reason == "not on the list" {
			denied++
		}
	}
	if denied != 2*8 {
		t.Errorf("%d denials were reported, want 16: %v", denied, refusals)
	}
}

func TestAnswerOddMessages(t *testing.T) {
	r := &Resolver{Upstream: of(record("example.org.", 60, "A", "192.0.2.1")), Policy: allowed{"example.org"}, Pins: NewPins()}
	good := pack(t, question("example.org.", dnsmessage.TypeA))
	alter := func(f func(m *dnsmessage.Message)) []byte {
		m := question("example.org.", dnsmessage.TypeA)
		f(&m)
		return pack(t, m)
	}
	bytes := func(f func(b []byte)) []byte {
		b := append([]byte(nil), good...)
		f(b)
		return b
	}
	edns := withEDNS(question("example.org.", dnsmessage.TypeA), 1232)
	// A wire name of 255 bytes is the longest that there is (RFC 1035, 2.3.4).
	labels := func(last int) string {
		l := "\x3f" + strings.Repeat("a", 63)
		return l + l + l + string(rune(last)) + strings.Repeat("b", last) + "\x00\x00\x01\x00\x01"
	}
	rows := []struct {
		what string
		msg  []byte
		want string // the code; "" for no answer
	}{
		{"nothing", nil, ""},
		{"half a header", good[:11], ""},
		{"an answer", bytes(func(b []byte) { b[2] |= 0x80 }), ""},
		{"no question", good[:12], "FORMERR"},
		{"half a question", good[:len(good)-3], "FORMERR"},
		{"two questions", alter(func(m *dnsmessage.Message) { m.Questions = append(m.Questions, m.Questions[0]) }), "FORMERR"},
		{"a question that points to itself", append(good[:12:12], 0xc0, 12, 0, 1, 0, 1), "FORMERR"},
		{"a question that points forth and back", append(good[:12:12], 0xc0, 14, 0xc0, 12, 0, 1, 0, 1), "FORMERR"},
		{"a label of a reserved kind", append(good[:12:12], 0x40, 0, 0, 1, 0, 1), "FORMERR"},
		{"a dot in a label", append(good[:12:12], 3, 'a', '.', 'b', 0, 0, 1, 0, 1), "FORMERR"},
		{"a name of 255 bytes", append(good[:12:12], labels(61)...), "none"},
		{"a name of 256 bytes", append(good[:12:12], labels(62)...), "FORMERR"},
		{"more records than it has", bytes(func(b []byte) { b[11] = 9 }), "FORMERR"},
		{"an update", bytes(func(b []byte) { b[2] |= 5 << 3 }), "NOTIMP"},
		{"class CHAOS", alter(func(m *dnsmessage.Message) { m.Questions[0].Class = dnsmessage.ClassCHAOS }), "REFUSED"},
		{"class ANY", alter(func(m *dnsmessage.Message) { m.Questions[0].Class = dnsmessage.ClassANY }), "REFUSED"},
		{"EDNS", pack(t, edns), "ok"},
		{"EDNS twice", alter(func(m *dnsmessage.Message) { m.Additionals = append(edns.Additionals, edns.Additionals...) }), "FORMERR"},
		{"EDNS of version 1", alter(func(m *dnsmessage.Message) {
			m.Additionals = append(m.Additionals, edns.Additionals...)
			m.Additionals[0].Header.TTL |= 1 << 16
		}), "BADVERS"},
		{"bytes behind it", append(good[:len(good):len(good)], 1, 2, 3), "ok"},
	}
	for _, row := range rows {
		out := r.Answer(t.Context(), row.msg, false)
		got := ""
		if out != nil {
			var m dnsmessage.Message
			if err := m.Unpack(out); err != nil {
				t.Fatalf("%s: Answer is no message: %v", row.what, err)
			}
			got, _, _ = strings.Cut(summary(m), ";")
			if len(m.Additionals) == 1 && m.Additionals[0].Header.ExtendedRCode(m.RCode) == codeBadVersion {
				got = "BADVERS"
			}
		}
		if got != row.want {
			t.Errorf("%s: Answer = %q, want %q", row.what, got, row.want)
		}
	}
}

func TestAnswerSizes(t *testing.T) {
	var records []dnsmessage.Resource
	for i := range 40 {
		records = append(records, record("example.org.", 60, "MX", fmt.Sprintf("mail%d-with-a-name-of-some-length.example%d.net.", i, i)))
	}
	r := &Resolver{Upstream: of(records...), Policy: allowed{"example.org"}, Pins: NewPins()}
	m := question("example.org.", dnsmessage.TypeMX)
	rows := []struct {
		what string
		m    dnsmessage.Message
		tcp  bool
		want int // records, 0 is truncated
	}{
		{"UDP", m, false, 0},
		{"UDP with 100", withEDNS(m, 100), false, 0},
		{"UDP with 1232", withEDNS(m, 1232), false, 0},
		{"UDP with 4096", withEDNS(m, 4096), false, 40},
		{"UDP with 65535", withEDNS(m, 65535), false, 40},
		{"TCP", m, true, 40},
		{"TCP with EDNS", withEDNS(m, 512), true, 40},
	}
	for _, row := range rows {
		got := ask(t, r, row.m, row.tcp)
		if len(got.Answers) != row.want || got.Truncated != (row.want == 0) || len(got.Additionals) != len(row.m.Additionals) {
			t.Errorf("%s: %d answers, truncated %v, %d additionals, want %d answers", row.what, len(got.Answers), got.Truncated, len(got.Additionals), row.want)
		}
	}
	// What does not even go into TCP's 65,535 bytes.
	for i := range records {
		records[i] = record("example.org.", 60, "TXT", strings.Repeat("x", 255))
		records[i].Body.(*dnsmessage.TXTResource).TXT = []string{strings.Repeat("x", 255), strings.Repeat("y", 255), strings.Repeat("z", 255)}
	}
	for range 100 {
		records = append(records, records[0])
	}
	huge := &Resolver{Upstream: &upstream{answer: func(string, Type) (Result, error) { return Result{Records: records}, nil }}, Policy: allowed{"example.org"}, Pins: NewPins()}
	if got := summary(ask(t, huge, question("example.org.", dnsmessage.TypeMX), true)); got != "SERVFAIL" {
		t.Errorf("an answer of over 64 KiB = %q, want SERVFAIL", got)
	}
}

func TestAnswerTextBudget(t *testing.T) {
	var refusals []Refusal
	r := &Resolver{
		Upstream: of(record("example.org.", 60, "TXT", strings.Repeat("x", 250))), Policy: allowed{"example.org"}, Pins: NewPins(),
		Report: func(_ context.Context, f Refusal) { refusals = append(refusals, f) },
	}
	passed := 0
	for range 200 {
		if summary(ask(t, r, question("example.org.", dnsmessage.TypeTXT), true)) != "REFUSED" {
			passed++
		}
	}
	if want := textBudget / 261; passed < want || passed > want+20 { // 20 are a budget's for a few seconds
		t.Errorf("%d of 200 questions for text passed, want %d", passed, want)
	}
	if len(refusals) != 200-passed || !refusals[0].Denied {
		t.Errorf("%d refusals, want %d", len(refusals), 200-passed)
	}
	if got := summary(ask(t, r, question("example.org.", dnsmessage.TypeA), true)); got != "ok; soa 0 0" {
		t.Errorf("an address after the budget = %q, want an answer", got)
	}
}

func TestAnswerFaults(t *testing.T) {
	up := &upstream{answer: func(string, Type) (Result, error) { return Result{}, errNobody }}
	var refusals []Refusal
	r := &Resolver{Upstream: up, Policy: allowed{"example.org"}, Pins: NewPins(), Report: func(_ context.Context, f Refusal) { refusals = append(refusals, f) }}
	if got := summary(ask(t, r, question("example.org.", dnsmessage.TypeA), false)); got != "SERVFAIL" {
		t.Errorf("Answer = %q, want SERVFAIL", got)
	}
	if want := (Refusal{"example.org", dnsmessage.TypeA, false, "the host can't look it up: " + errNobody.Error()}); len(refusals) != 1 || refusals[0] != want {
		t.Errorf("reported %v, want %v", refusals, want)
	}
}

func TestBudgetRefills(t *testing.T) {
	var b budget
	now := time.Now()
	if !b.takeAt(textBudget, now) || b.takeAt(1, now) {
		t.Error("a full budget gives what it has, and no more")
	}
	if b.takeAt(textBudget/2+100, now.Add(30*time.Second)) || !b.takeAt(textBudget/2-100, now.Add(30*time.Second)) {
		t.Error("half a minute gives half of the budget")
	}
	if !b.takeAt(textBudget, now.Add(time.Hour)) || b.takeAt(1, now.Add(time.Hour)) {
		t.Error("an hour gives one budget, and no more")
	}
}

// proxyRule lets the proxy resolve names of the list.
type proxyRule []string

func (p proxyRule) Resolves(name string) Decision {
	for _, n := range p {
		if n == name {
			return Decision{Allow: true}
		}
	}
	return Decision{Reason: "only the proxy could resolve it"}
}

func TestAnswerByProxy(t *testing.T) {
	up := of(record("example.org.", 60, "A", "192.0.2.1"))
	known := up.answer
	up.answer = func(name string, typ Type) (Result, error) {
		if name == "down.example.com" {
			return Result{}, errNobody
		}
		return known(name, typ)
	}
	r := &Resolver{
		Upstream: up, Policy: allowed{".com", ".internal", ".org", "example.org", "short"}, Pins: NewPins(), Synthetic: &Synthetic{},
		Proxy: proxyRule{"allowed.example.com", "down.example.com", "example.org", "x.internal", "short"},
	}
	rows := []struct {
		name string
		t    Type
		want string
	}{
		{"example.org.", dnsmessage.TypeA, "ok; example.org. A 192.0.2.1"},
		{"example.org.", dnsmessage.TypeAAAA, "ok; soa 0 0"},
		{"allowed.example.com.", dnsmessage.TypeA, "synthetic"},
		{"Allowed.example.com.", dnsmessage.TypeA, "synthetic"},
		{"allowed.example.com.", dnsmessage.TypeAAAA, "ok; soa 0 0"},
		{"allowed.example.com.", dnsmessage.TypeMX, "none; soa 0 0"},
		{"down.example.com.", dnsmessage.TypeA, "synthetic"},
		{"other.example.com.", dnsmessage.TypeA, "none; soa 0 0"},
		{"x.internal.", dnsmessage.TypeA, "none; soa 0 0"},
		{"short.", dnsmessage.TypeA, "none; soa 0 0"},
	}
	for _, row := range rows {
		got := ask(t, r, question(row.name, row.t), false)
		s := summary(got)
		if row.want == "synthetic" && len(got.Answers) == 1 {
			addr := netip.AddrFrom4(got.Answers[0].Body.(*dnsmessage.AResource).A)
			name, ok := r.Synthetic.Name(addr)
			if SyntheticPrefix.Contains(addr) && ok && name == Clean(row.name) && cmp.Equal(r.Pins.Names(addr), []string{name}) {
				s = "synthetic"
			}
		}
		if s != row.want {
			t.Errorf("Answer(%q, %s) = %q, want %q", row.name, typeName(row.t), s, row.want)
		}
	}
}

// waiting answers nothing until the caller gives up.
type waiting struct{}

func (waiting) Lookup(ctx context.Context, _ string, _ Type) (Result, error) {
	<-ctx.Done()
	return Result{}, ctx.Err()
}

// A guest asks anew after 5 seconds: a host whose servers are silent must not keep
// a name from it that the proxy can resolve.
func TestAnswerByProxyWithASilentServer(t *testing.T) {
	t.Parallel() // it takes the limit's 3 s
	r := &Resolver{Upstream: waiting{}, Policy: allowed{"example.org"}, Pins: NewPins(), Synthetic: &Synthetic{}, Proxy: proxyRule{"example.org"}}
	got := ask(t, r, question("example.org.", dnsmessage.TypeA), false)
	if s := summary(got); !strings.HasPrefix(s, "ok; example.org. A 198.1") {
		t.Errorf("Answer = %q, want a synthetic address", s)
	}
}
