package mirrors

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"maps"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// all is a host that configures every client.
func all() (files map[string]string, env []string) {
	files = map[string]string{
		"/etc/os-release": "ID=debian\nVERSION_CODENAME=\"bookworm\"\n",
		"/etc/apt/sources.list.d/debian.sources": "Types: deb\nURIs: http://user:canary@deb.example.org/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n" +
			"Types: deb\nURIs: tor+http://sec.example.org/debian-security https://sec.example.org/debian-security\nSuites: bookworm-security\nComponents: main\n",
		"/etc/apt/sources.list.d/other.list": "deb [signed-by=/usr/share/keyrings/other.gpg] https://other.example.org/debian bookworm main\n",
	}
	for _, r := range rows {
		switch r.name {
		case "apt.conf", "npmrc", "yarn", "pip.conf", "uv.toml", "go.env", "config.toml", "settings.xml", "pnpm":
			maps.Copy(files, r.files)
			env = append(env, r.env...)
		}
	}
	files["/etc/pip.conf"] = "[global]\ntrusted-host = pip.example.org stranger.example.org\n"
	return files, env
}

func TestGuest(t *testing.T) {
	files, env := all()
	f := Read(hostWith(t, files, env...))
	c, notes := f.Guest(Distribution{"debian", "bookworm"})
	var b strings.Builder
	for _, x := range c.Files {
		fmt.Fprintf(&b, "== %s %o\n%s", x.Path, x.Mode, x.Content)
	}
	b.WriteString("== variables\n")
	for _, v := range c.Env {
		fmt.Fprintf(&b, "%s=%s\n", v.Name, v.Value)
	}
	fmt.Fprintf(&b, "== apt's archives\n%s %s\n", c.Apt.ID, c.Apt.Codename)
	for _, suite := range sortedKeys(c.Apt.URIs) {
		fmt.Fprintf(&b, "%s %q\n", suite, c.Apt.URIs[suite])
	}
	fmt.Fprintf(&b, "%s== rules\n", c.Apt.Conf)
	for _, r := range f.Rules() {
		fmt.Fprintf(&b, "%s %d: %s\n", r.Host, r.Port, r.Origin)
	}
	fmt.Fprintf(&b, "== unknown\n%v\n== notes\n%s\n", f.Unknown, strings.Join(append(f.Notes, notes...), "\n"))
	golden := filepath.Join("testdata", "guest.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("Guest (-want +got):\n%s", diff)
	}
}

func TestGuestOfAnotherDistribution(t *testing.T) {
	files, env := all()
	f := Read(hostWith(t, files, env...))
	for _, d := range []Distribution{{"debian", "trixie"}, {"ubuntu", "bookworm"}} {
		c, notes := f.Guest(d)
		if c.Apt != nil || len(notes) != 1 || len(c.Files) == 0 {
			t.Errorf("Guest(%v): archives %v, notes %q", d, c.Apt, notes)
		}
		for _, x := range c.Files {
			if strings.Contains(x.Content, "Check-Valid-Until") {
				t.Errorf("Guest(%v): %s is %q", d, x.Path, x.Content)
			}
		}
	}
	if c, notes := f.Guest(Distribution{}); c.Apt == nil || len(notes) > 0 {
		t.Errorf("Guest of an unknown image: archives %v, notes %q", c.Apt, notes)
	}
}

// Yarn refuses plain HTTP but to the hosts that its file names.
func TestYarnPlainHTTP(t *testing.T) {
	text := "npmRegistryServer: \"http://a.example.org\"\nnpmScopes:\n  corp:\n    npmRegistryServer: \"http://a.example.org/corp\"\n  other:\n    npmRegistryServer: \"https://b.example.org\"\nhttpProxy: \"http://proxy.example.org:3128\"\n"
	c, _ := Read(hostWith(t, file("/home/u/.yarnrc.yml", text))).Guest(Distribution{})
	if len(c.Files) != 1 || !strings.HasSuffix(c.Files[0].Content, "unsafeHttpWhitelist:\n  - \"a.example.org\"\n") {
		t.Errorf("yarn's files are %+v", c.Files)
	}
}

// A source of cargo's is replaced only if what stands at the end of the replacements goes in.
func TestReplacedSources(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"[source.crates-io]\nreplace-with='vendored'\n[source.vendored]\ndirectory='v'\n", ""},
		{"[source.crates-io]\nreplace-with='a'\n[source.a]\nreplace-with='crates-io'\n", ""},
		{"[source.crates-io]\nreplace-with='a'\n[source.a]\nregistry='https://a.example.org/aB3dE5gH7jK9mN1p/x'\n", ""},
		{"[source.crates-io]\nreplace-with='a'\n[source.a]\nreplace-with='b'\n[source.b]\nregistry='https://b.example.org'\n",
			"[source.\"a\"]\nreplace-with = \"b\"\n[source.\"b\"]\nregistry = \"https://b.example.org\"\n[source.\"crates-io\"]\nreplace-with = \"a\"\n"},
		{"[source.crates-io]\nreplace-with='a'\n[registries.a]\nindex='https://b.example.org'\n",
			"[registries.\"a\"]\nindex = \"https://b.example.org\"\n[source.\"crates-io\"]\nreplace-with = \"a\"\n"},
	} {
		c, _ := Read(hostWith(t, file("/home/u/.cargo/config.toml", tt.text))).Guest(Distribution{})
		got := ""
		for _, x := range c.Files {
			_, got, _ = strings.Cut(x.Content, "\n")
		}
		if got != tt.want {
			t.Errorf("cargo's file for %q is %q, want %q", tt.text, got, tt.want)
		}
	}
}

// GOPROXY goes in as a whole, or without some proxies, but not as "direct" only because its
// proxies don't.
func TestGoProxyWithoutProxies(t *testing.T) {
	for _, tt := range []struct{ list, want string }{
		{"direct", "direct"}, {"off", "off"},
		{"https://a.example.org,direct", "https://a.example.org,direct"},
		{"http://localhost:3000,https://a.example.org|direct", "https://a.example.org|direct"},
		{"http://localhost:3000,direct", ""},
		{"https://a.example.org/aB3dE5gH7jK9mN1p,direct", ""},
		{"file:///srv/proxy,off", ""},
	} {
		c, _ := Read(hostWith(t, nil, "GOPROXY="+tt.list)).Guest(Distribution{})
		got := ""
		for _, v := range c.Env {
			got = v.Value
		}
		if got != tt.want {
			t.Errorf("GOPROXY=%s is %q in the guest, want %q", tt.list, got, tt.want)
		}
	}
}

// An address of the host's own opens nothing, and does not go into a guest: a line says what does.
func TestOwnAddress(t *testing.T) {
	h := hostWith(t, nil, "PIP_INDEX_URL=http://192.168.7.5:3141/simple", "npm_config_registry=http://[2001:db8::5]:4873/", "GOPROXY=http://192.168.7.6/go")
	h.Own = []netip.Addr{netip.MustParseAddr("192.168.7.5"), netip.MustParseAddr("2001:db8::5")}
	f := Read(h)
	if rules := f.Rules(); len(rules) != 1 || rules[0].Host != "192.168.7.6" {
		t.Errorf("the rules are %+v, want one for 192.168.7.6", rules)
	}
	if len(f.Notes) != 2 || !strings.Contains(f.Notes[0]+f.Notes[1], "an address of this machine's own") || !strings.Contains(f.Notes[0], "--allow host:PORT") {
		t.Errorf("the notes are %q", f.Notes)
	}
}

func TestUnknown(t *testing.T) {
	f := Read(hostWith(t, map[string]string{
		"/home/u/.m2/settings.xml":   "<settings><mirrors><mirror><id>a</id><mirrorOf>*,!central</mirrorOf><url>https://a.example.org</url></mirror></mirrors></settings>",
		"/home/u/.cargo/config.toml": "[registries.a]\nindex='https://b.example.org'\n",
	}, "GOPROXY=https://c.example.org", "PIP_INDEX_URL=https://d.example.org"))
	if diff := cmp.Diff([]string{"npm", "uv", "cargo", "maven"}, f.Unknown); diff != "" {
		t.Errorf("unknown (-want +got):\n%s", diff)
	}
}

// certificate is one that signs itself, with its key, as PEM.
func certificate(t *testing.T, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kder}))
}

func TestHostCAs(t *testing.T) {
	a, key := certificate(t, "a")
	b, _ := certificate(t, "b")
	d, _ := certificate(t, "d")
	der, _ := pem.Decode([]byte(d))
	h := hostWith(t, map[string]string{
		"/usr/local/share/ca-certificates/corp/a.crt":    "# a comment\n" + key + a,
		"/usr/local/share/ca-certificates/corp/no.pem":   b,
		"/usr/local/share/ca-certificates/again.crt":     a,
		"/usr/local/share/ca-certificates/bad.crt":       "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"/usr/local/share/ca-certificates/1/2/3/4/x.crt": b,
		"/etc/pki/ca-trust/source/anchors/d.der":         string(der.Bytes),
		"/usr/share/ca-certificates/distribution.crt":    b,
		"/home/u/src/b.crt":                              b,
	})
	if err := os.Symlink("/home/u/src/b.crt", filepath.Join(h.Root, "usr/local/share/ca-certificates/link.crt")); err != nil {
		t.Fatal(err)
	}
	certs, notes := HostCAs(h)
	var got []string
	for _, c := range certs {
		got = append(got, c.PEM)
	}
	if diff := cmp.Diff([]string{a, d}, got); diff != "" {
		t.Errorf("HostCAs (-want +got):\n%s", diff)
	}
	if len(notes) != 2 || !strings.Contains(notes[0], "bad.crt") || !strings.Contains(notes[1], "link.crt") {
		t.Errorf("notes are %q", notes)
	}
	if certs, notes := HostCAs(Host{Root: t.TempDir()}); len(certs)+len(notes) > 0 {
		t.Errorf("HostCAs of nothing = %v, %q", certs, notes)
	}
}
