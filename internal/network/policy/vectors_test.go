package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
)

// lan is a host's routes: LANs with public addresses, a VPN's network, nothing known of one
// address, no way to one network, everything else by a default route.
type lan struct{}

func (lan) Route(a netip.Addr) (Route, error) {
	if a == netip.MustParseAddr("9.9.9.99") {
		return Route{}, errors.New("netlink is not there")
	}
	for _, r := range []struct {
		prefix string
		reach  Reach
	}{
		{"5.9.10.2/32", Own},
		{"2a01:4f8:1:2::2/128", Own},
		{"5.9.10.0/29", BySpecific},
		{"2a01:4f8:1:2::/64", BySpecific},
		{"45.33.32.156/32", BySpecific},
		{"20.30.0.0/16", BySpecific},
		{"2620:99:1::/48", NoRoute},
	} {
		if p := netip.MustParsePrefix(r.prefix); p.Contains(a) {
			return Route{Reach: r.reach, Prefix: p}, nil
		}
	}
	return Route{Reach: ByDefault}, nil
}

// flagsOf makes a policy of a vector's line: PROFILE and flags, "config:", "mirrors:" or
// "image:" before one that is none.
func flagsOf(t *testing.T, line string) Policy {
	t.Helper()
	words := strings.Fields(line)
	profile, err := ParseProfile(words[0])
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	p := Policy{Profile: profile}
	for i := 1; i < len(words); i++ {
		if words[i] == "proxy_resolves" {
			p.ProxyResolves = true
			continue
		}
		flag, from := words[i], Origin{Source: FromFlag}
		if source, rest, ok := strings.Cut(flag, ":"); ok {
			flag, from = rest, Origin{Source(source), "/etc/" + source}
		}
		i++
		r, err := Parse(Action(strings.TrimPrefix(flag, "--")), words[i], from)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		p.Rules = append(p.Rules, r)
	}
	return p
}

// asked reads a vector's question: names, address, port, protocol, and what is said.
func asked(t *testing.T, line string) (q Question, said *Said) {
	t.Helper()
	q.Proto = TCP
	words := strings.Fields(line)
	for i := 0; i < len(words); i++ {
		key, value, _ := strings.Cut(words[i], "=")
		switch key {
		case "name":
			q.Names = append(q.Names, unescape(value))
		case "addr":
			a, err := netip.ParseAddr(value)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			q.Addr = a
		case "port":
			fmt.Sscan(value, &q.Port)
		case "udp", "icmp":
			q.Proto = Proto(key)
		case "proxy":
			q.ByProxy = true
		case "denied":
			q.Denied = append(q.Denied, value)
		case "sni", "host", "h2":
			kind := map[string]Content{"sni": TLS, "host": HTTP, "h2": HTTP2}[key]
			said = &Said{Kind: kind, Complete: true}
			if value != "" {
				for n := range strings.SplitSeq(value, ",") {
					said.Names = append(said.Names, unescape(n))
				}
			}
		case "via":
			name, port, _ := strings.Cut(value, ":")
			said = &Said{Kind: HTTP, Complete: true, Names: []string{name, name}}
			fmt.Sscan(port, &said.Asked)
		case "broken":
			said = &Said{Kind: TLS, Complete: true, Broken: "its server_name is not one name"}
		case "unclear":
			said = &Said{Complete: true, Broken: "it ends in the middle"}
		case "cut":
			said = &Said{Kind: TLS}
		case "other":
			said = &Said{Kind: Other, Complete: true}
		default:
			t.Fatalf("%s: %q is not known", line, words[i])
		}
	}
	return q, said
}

var unescape = strings.NewReplacer(`\0`, "\x00", `\n`, "\n", `\s`, " ", `\long`, strings.Repeat("a.", 127)+"a", `\label`, strings.Repeat("a", 64)).Replace

// The table of vectors: each row is a question under the policy above it, whether it
// passes, and what the reason (and the hint, after ";") says.
func TestVectors(t *testing.T) {
	text, err := os.ReadFile("testdata/vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	var j *Judge
	rows, policy := 0, ""
	for n, line := range strings.Split(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		if of, ok := strings.CutPrefix(line, "== "); ok {
			policy = of
			j = New(flagsOf(t, of), lan{})
			continue
		}
		cols := strings.SplitN(line, "|", 3)
		if len(cols) != 3 {
			t.Fatalf("line %d: %q has no three columns", n+1, line)
		}
		rows++
		q, said := asked(t, cols[0])
		v := j.Judge(q)
		if said != nil {
			if !v.Allow {
				t.Errorf("line %d: %s: denied before its first bytes: %s", n+1, cols[0], v.Reason)
			}
			v = j.Heard(q, v, *said)
		}
		verdict := "deny"
		switch {
		case v.Allow && v.MustSay:
			verdict = "allow, must say"
		case v.Allow && v.Look:
			verdict = "allow, look"
		case v.Allow:
			verdict = "allow"
		case v.Quiet:
			verdict = "deny, quiet"
		}
		reason, hint, hinted := strings.Cut(strings.TrimSpace(cols[2]), ";")
		bad := verdict != strings.TrimSpace(cols[1]) || !strings.Contains(v.Reason, strings.TrimSpace(reason))
		if hinted {
			bad = bad || v.Hint != strings.TrimSpace(hint)
		}
		if bad {
			t.Errorf("line %d, policy %q, question %q:\n got %s | %s; %s\nwant %s | %s", n+1, policy, strings.TrimSpace(cols[0]), verdict, v.Reason, v.Hint, strings.TrimSpace(cols[1]), strings.TrimSpace(cols[2]))
		}
		if !v.Allow && (v.Reason == "" || strings.ContainsAny(v.Reason+v.Hint, "\x00\n\x1b")) {
			t.Errorf("line %d: the reason %q can't be shown", n+1, v.Reason)
		}
	}
	if rows < 200 {
		t.Errorf("the table has %d rows, want 200 or more", rows)
	}
}
