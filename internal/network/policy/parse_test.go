package policy

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"banger/internal/hint"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ in, want string }{ // want: as it is kept
		{"example.org", "example.org"},
		{"EXAMPLE.org.", "example.org"},
		{"example.org:8443", "example.org:8443"},
		{"example.org.:22", "example.org:22"},
		{"*.example.org", "*.example.org"},
		{".example.org:8443", ".example.org:8443"},
		{".org", ".org"},
		{"intranet:80", "intranet:80"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"Bücher.example", "xn--bcher-kva.example"},
		{"*.bücher.example", "*.xn--bcher-kva.example"},
		{"example。org", "example.org"},
		{"_dmarc.example.org", "_dmarc.example.org"},
		{"93.184.216.34", "93.184.216.34"},
		{"93.184.216.34:8443", "93.184.216.34:8443"},
		{"10.0.0.5:443", "10.0.0.5:443"},
		{"2606:4700:4700::1111", "2606:4700:4700::1111"},
		{"[2606:4700:4700::1111]", "2606:4700:4700::1111"},
		{"[2606:4700:4700:0::1111]:443", "[2606:4700:4700::1111]:443"},
		{"[::ffff:93.184.216.34]:443", "93.184.216.34:443"},
		{"@node", "@node"},
		{"@GCS", "@gcs"},
		{"host:3000", "host:3000"},
		{"HOST:3000", "host:3000"},
		{"host.banger.internal:3000", "host:3000"},
		{"host.docker.internal.:3000", "host:3000"},
		{"web.vm:8080", "web.vm:8080"},
		{strings.Repeat("a.", 126) + "a", strings.Repeat("a.", 126) + "a"},
	} {
		from := Origin{Source: FromConfig, File: "config.toml"}
		r, err := Parse(Allow, c.in, from)
		if err != nil || r.Pattern.String() != c.want || r.Origin != from {
			t.Errorf("Parse(%q) = %v from %v, %v; want %s", c.in, r, r.Origin, err, c.want)
			continue
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back Rule
		if err := json.Unmarshal(text, &back); err != nil || back != r {
			t.Errorf("%s reads as %+v, %v; want %+v", text, back, err, r)
		}
	}
}

// What is refused, with what it says is wrong and what to type instead.
func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ in, err, hint string }{
		{"", "it is empty", "type a name"},
		{"*", "every name", "--egress public"},
		{"**", "every name", "--egress public"},
		{"*.", "every name", "--egress public"},
		{"*.*", "every name", "--egress public"},
		{"*:443", "every name", "--egress public"},
		{".", "no name: it is empty", "type a name"},
		{"..", "no name", "type a name"},
		{"a*.example.org", "a star stands only", "*.example.org or .example.org"},
		{"**.example.org", "a star stands only", "*.example.org or .example.org"},
		{"www.*.example.org", "a star stands only", "*.example.org"},
		{"https://example.org", "it is a URL", "type the host: example.org"},
		{"https://example.org:8443/x?y", "it is a URL", "type the host: example.org:8443"},
		{"http://user:word@example.org/", "it is a URL", "type the host: example.org"},
		{"ssh://git@example.org/x.git", "it is a URL", "type the host: example.org:22"},
		{"ftp://example.org/", "it is a URL", "type the host: example.org:PORT"},
		{"example.org/path", "it has a path", "type the host: example.org"},
		{"example.org:443/path", "it has a path", "type the host: example.org:443"},
		{"git@example.org:a/b", "it has a path", "type the host"},
		{"git@example.org:repo", "a user's name", "example.org:22"},
		{"10.0.0.0/8", "ranges of addresses", "10.0.0.0:443"},
		{"fd00::/8", "ranges of addresses", "[fd00::]:443"},
		{"10.0.0.1-10.0.0.9", "ends in a number", "four decimal numbers"},
		{"a.example,b.example", "more than one name", "once for each name"},
		{"a.example b.example", "more than one name", "once for each name"},
		{" example.org", "more than one name", "once for each name"},
		{"exa\x00mple.org", "control character", "type a name"},
		{"\xff.example", "not text in UTF-8", "type a name"},
		{"example.org\n", "control character", "type a name"},
		{"example.org:0", `"0" is no port`, "example.org:443"},
		{"example.org:65536", `"65536" is no port`, "1 to 65535"},
		{"example.org:080", "is no port", "1 to 65535"},
		{"example.org:+80", "is no port", "1 to 65535"},
		{"example.org:http", `"http" is no port`, "1 to 65535"},
		{"example.org:", `"" is no port`, "1 to 65535"},
		{"example.org:80-90", "is no port", "1 to 65535"},
		{":443", "no name: it is empty", "type a name"},
		{"a:b:443", "more than one colon", "in brackets"},
		{"fe80::1%eth0", "it has a zone", "without %"},
		{"[fe80::1%eth0]:80", "it has a zone", "without %"},
		{"[example.org]:80", "it has the character '['", "type a name"},
		{"[93.184.216.34]:80", "it has the character '['", "type a name"},
		{"127.1", "ends in a number", "four decimal numbers"},
		{"0x7f.0.0.1", "ends in a number", "four decimal numbers"},
		{"0177.0.0.1", "ends in a number", "four decimal numbers"},
		{"2130706433", "ends in a number", "four decimal numbers"},
		{"256.1.1.1", "ends in a number", "four decimal numbers"},
		{"example..org", "two dots", "type a name"},
		{"-a.example", "hyphen", "type a name"},
		{"exa$mple.org", "the character '$'", "type a name"},
		{"xn--a.example", "not a valid internationalised name", "type a name"},
		{strings.Repeat("a.", 127) + "a", "255 bytes long, and a name has at most 253", "type a name"},
		{strings.Repeat("a", 64) + ".example", "a part has at most 63", "type a name"},
		{strings.Repeat("a", 2000), "2000 bytes long", "253 bytes"},
		{"@", "no name of a group", "type a group"},
		{"@nod", "no group is called that", "@node"},
		{"@node:443", "ports of its own", "type @node"},
		{"@no de", "more than one name", ""},
		{"host", "each port is named", "host:3000"},
		{"host.banger.internal", "each port is named", "host:3000"},
		{"localhost:3000", "localhost is the guest's own", "--allow host:PORT"},
		{"x.localhost", "localhost is the guest's own", "--allow host:PORT"},
		{"127.0.0.1:3000", "the guest's own", "--allow host:PORT"},
		{"[::1]:3000", "the guest's own", "--allow host:PORT"},
		{"[::ffff:127.0.0.1]:80", "the guest's own", "--allow host:PORT"},
		{"0.0.0.0:80", "0.0.0.0 is unspecified, and nothing opens it", ""},
		{"169.254.169.254:80", "metadata service, and nothing opens it", ""},
		{"224.0.0.1:80", "multicast, and nothing opens it", ""},
		{"255.255.255.255:80", "broadcast, and nothing opens it", ""},
		{"10.0.0.5", "10.0.0.5 is private, which is opened only with its port", "10.0.0.5:443"},
		{"fd12::5", "opened only with its port", "[fd12::5]:443"},
		{"web.vm", "each port is named", "web.vm:PORT"},
	} {
		r, err := Parse(Allow, c.in, Origin{Source: FromFlag})
		if err == nil {
			t.Errorf("Parse(%q) = %v, want an error", c.in, r)
			continue
		}
		if !strings.Contains(err.Error(), c.err) || !strings.HasPrefix(err.Error(), strconv.Quote(c.in)+": ") {
			t.Errorf("Parse(%q): %v; want %q", c.in, err, c.err)
		}
		if h := hint.Of(err); h == "" || !strings.Contains(h, c.hint) {
			t.Errorf("Parse(%q): hint %q, want %q", c.in, h, c.hint)
		}
	}
}

// A denial may name what can't be opened: that is true already.
func TestParseDeny(t *testing.T) {
	for _, in := range []string{"127.0.0.1", "10.0.0.5", "host", "localhost", "web.vm", "169.254.169.254"} {
		if _, err := Parse(Deny, in, Origin{Source: FromFlag}); err != nil {
			t.Errorf("Parse(deny, %q): %v", in, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"example.org:80", "*.example.org", ".a", "@node", "[::1]:3", "host:1", "bücher.example", "a*b", "https://u@x/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(Allow, s, Origin{Source: FromFlag})
		if err != nil {
			if hint.Of(err) == "" {
				t.Errorf("Parse(%q): %v, without a hint", s, err)
			}
			return
		}
		again, err := Parse(Allow, r.Pattern.String(), r.Origin)
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("Parse(%q) = %v, which reads as %v, %v", s, r, again, err)
		}
	})
}
