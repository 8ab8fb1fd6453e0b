package resolver

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// FuzzAnswer gives a guest's bytes to a resolver: what comes back is nothing, or a
// whole message within the limit that answers it.
func FuzzAnswer(f *testing.F) {
	for _, m := range []dnsmessage.Message{
		question("www.Example.org.", dnsmessage.TypeA), question("example.org.", dnsmessage.TypeTXT), question("example.com.", dnsmessage.TypeALL),
		question("1.2.0.192.in-addr.arpa.", dnsmessage.TypePTR), withEDNS(question("example.org.", dnsmessage.TypeMX), 1232),
	} {
		msg, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(msg, false)
		f.Add(msg, true)
	}
	f.Add(append(make([]byte, 5), 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1), true)
	up := of(record("www.example.org.", 60, "CNAME", "cdn.example.net."), record("cdn.example.net.", 60, "A", "192.0.2.1"), record("example.org.", 60, "TXT", "v=1"))
	f.Fuzz(func(t *testing.T, msg []byte, tcp bool) {
		up.asked = nil
		r := &Resolver{Upstream: up, Policy: allowed{"example.org", ".example.org"}, Pins: NewPins()}
		r.Pins.Add(netip.MustParseAddr("192.0.2.1"), "www.example.org", 0)
		out := r.Answer(t.Context(), msg, tcp)
		for _, name := range up.asked {
			if !below(name, "example.org") || !valid(name) {
				t.Errorf("the host was asked for %q", name)
			}
		}
		if out == nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(out); err != nil {
			t.Fatalf("Answer is no message: %v", err)
		}
		if m.ID != binary.BigEndian.Uint16(msg) || !m.Response || !tcp && len(out) > maxUDP {
			t.Errorf("Answer has %d bytes and the header %v", len(out), m.Header)
		}
	})
}

// FuzzReply gives a server's bytes to the host's half.
func FuzzReply(f *testing.F) {
	q := question("example.org.", dnsmessage.TypeA)
	f.Add(message(q, 0, record("example.org.", 60, "CNAME", "x.example.org."), record("x.example.org.", 60, "A", "192.0.2.1")))
	f.Add(message(q, 3))
	f.Fuzz(func(t *testing.T, msg []byte) {
		r, err := readReply(msg, 4711, q.Questions[0])
		if err != nil {
			return
		}
		_, picked, err := follow("example.org.", dnsmessage.TypeA, r.answers)
		if err != nil {
			return
		}
		if len(picked) > maxChain+maxRecords || shortest(picked) < 0 {
			t.Errorf("follow picked %d records of %v", len(picked), shortest(picked))
		}
		for _, p := range picked {
			if p.Header.Type != dnsmessage.TypeA && p.Header.Type != dnsmessage.TypeCNAME {
				t.Errorf("follow picked a record of type %v", p.Header.Type)
			}
		}
	})
}

// FuzzRecord gives bytes of systemd-resolved to the decoder.
func FuzzRecord(f *testing.F) {
	f.Add(wireRecord(record("example.org.", 60, "A", "192.0.2.1")))
	f.Add(wireRecord(record("example.org.", 60, "TXT", "v=1")))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := readRecord(data); err == nil {
			resolvedResult(question("example.org.", dnsmessage.TypeA).Questions[0], []dnsmessage.Resource{r})
		}
	})
}

// FuzzFiles gives bytes to the parsers of the host's files.
func FuzzFiles(f *testing.F) {
	f.Add("nameserver 192.0.2.1\noptions timeout:3 rotate\n")
	f.Add("192.0.2.1 example.org www # c\n::1%lo x\n")
	f.Fuzz(func(t *testing.T, text string) {
		if c := parseConf(text); len(c.servers) == 0 || c.attempts < 1 || c.timeout <= 0 {
			t.Errorf("parseConf = %+v", c)
		}
		for name, addrs := range parseHosts(text) {
			if len(addrs) == 0 || Clean(name) != name && name != "." {
				t.Errorf("parseHosts has %q: %v", name, addrs)
			}
		}
	})
}
