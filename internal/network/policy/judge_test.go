package policy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// counted counts how often it is asked.
type counted struct{ n int }

func (c *counted) Route(netip.Addr) (Route, error) {
	c.n++
	return Route{Reach: ByDefault}, nil
}

// The kernel is asked once a question, however many names an address has.
func TestRoutesAreAskedOnce(t *testing.T) {
	routes := &counted{}
	j := New(flagsOf(t, "dev --allow example.org"), routes)
	q := Question{Addr: netip.MustParseAddr("93.184.216.34"), Proto: ICMP}
	for range 16 {
		q.Names = append(q.Names, "other.example")
	}
	if v := j.Judge(q); v.Allow || routes.n != 1 {
		t.Errorf("Judge = %+v after %d questions, want a denial after 1", v, routes.n)
	}
}

// The largest policy is no way to stop a supervisor.
func TestJudgeIsQuick(t *testing.T) {
	p := Policy{Profile: Dev}
	for i := range MaxRules {
		r, err := Parse(Deny, "*."+strings.Repeat("a", 1+i%50)+".example:"+[]string{"80", "81", "82", "83"}[i%4], Origin{Source: FromFlag})
		if err != nil {
			t.Fatal(err)
		}
		p.Rules = append(p.Rules, r)
	}
	q := Question{Names: slices.Repeat([]string{"www.other.example"}, 16), Addr: netip.MustParseAddr("93.184.216.34"), Port: 443, Proto: TCP}
	begin := time.Now()
	if v := New(p, lan{}).Judge(q); v.Allow {
		t.Errorf("Judge = %+v", v)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("a question took %v", took)
	}
}

// Whatever a guest asks for, what nothing opens stays closed, and what is said can be shown.
func FuzzJudge(f *testing.F) {
	f.Add("example.org", []byte{10, 0, 0, 5}, uint16(443), false)
	f.Add("host.banger.internal", []byte{127, 0, 0, 1}, uint16(3000), false)
	f.Add("a\x00b", netip.MustParseAddr("64:ff9b::a9fe:a9fe").AsSlice(), uint16(0), true)
	p := Policy{Profile: Public}
	for _, pattern := range []string{"example.org:443", ".b.example:80", "host:3000", "web.vm:8080", "@gcs", "10.0.0.5:443"} {
		r, err := Parse(Allow, pattern, Origin{Source: FromFlag})
		if err != nil {
			f.Fatal(err)
		}
		p.Rules = append(p.Rules, r)
	}
	f.Fuzz(func(t *testing.T, name string, addr []byte, port uint16, ping bool) {
		a, ok := netip.AddrFromSlice(addr)
		if !ok {
			return
		}
		q := Question{Names: []string{name}, Addr: a, Port: port, Proto: TCP}
		if ping {
			q.Proto = ICMP
		}
		v := New(p, lan{}).Judge(q)
		c, closed := Closed(lan{}, a)
		if v.Allow && v.Target == ToAddress && closed && (c.Never || v.Rule == nil || v.Rule.Port == 0) {
			t.Errorf("Judge(%+v) = %+v, though %s", q, v, c.Reason)
		}
		if v.Reason == "" || strings.ContainsFunc(v.Reason+v.Hint, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }) {
			t.Errorf("Judge(%+v): the reason %q can't be shown", q, v.Reason)
		}
	})
}
