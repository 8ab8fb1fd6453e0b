package hostconfig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// image is a root directory with these files, by absolute path.
func image(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for p, text := range files {
		write(t, root, p, text)
	}
	return root
}

func write(t *testing.T, root, p, text string) {
	t.Helper()
	p = filepath.Join(root, p)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// content are the files and links below root, but for the state.
func content(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name := strings.TrimPrefix(p, root)
		if d.Type()&fs.ModeSymlink != 0 {
			to, err := os.Readlink(p)
			out[name] = "-> " + to
			return err
		}
		text, err := os.ReadFile(p)
		if name != stateFile {
			out[name] = string(text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// boot is one with that configuration.
func boot(root string, c Config) *Boot {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err) // there is nothing in it that can't be said
	}
	return &Boot{Root: root, Text: text}
}

func apply(t *testing.T, root string, c Config, notes ...string) *Boot {
	t.Helper()
	b := boot(root, c)
	got, err := b.Apply()
	if err != nil {
		t.Fatalf("Apply: %v", err)
	}
	if len(got) != len(notes) {
		t.Fatalf("Apply's notes are %q, want %q", got, notes)
	}
	for i := range notes {
		if !strings.Contains(got[i], notes[i]) {
			t.Errorf("note %d is %q, want %q in it", i, got[i], notes[i])
		}
	}
	return b
}

func finish(t *testing.T, b *Boot) {
	t.Helper()
	if err := b.Finish(); err != nil {
		t.Fatalf("Finish: %v", err)
	}
}

func same(t *testing.T, when string, want, got map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

// newCertificate is one that signs itself.
func newCertificate(t *testing.T) Certificate {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "corp"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	return Certificate{Name: "corp", PEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// debian are the files of an image that Apply changes.
func debian(ca string) map[string]string {
	return map[string]string{
		"/usr/lib/os-release":                    "ID=debian\nVERSION_CODENAME=bookworm\n",
		"/etc/environment":                       "LANG=C",
		"/etc/ssl/certs/ca-certificates.crt":     ca,
		"/etc/apt/sources.list":                  "# the image's\ndeb http://deb.example.org/debian bookworm main\n",
		"/etc/apt/sources.list.d/x.sources":      "Types: deb\nURIs: http://deb.example.org/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
		"/etc/apt/sources.list.d/vendor.sources": "Types: deb\nURIs: http://vendor.example.org/debian\nSuites: bookworm\nComponents: main\nSigned-By: /k.gpg\n",
	}
}

func config(ca Certificate) Config {
	return Config{
		Files:        []File{{"/etc/pip.conf", 0o644, "[global]\n"}, {"/root/.cargo/config.toml", 0o600, "# cargo\n"}},
		Env:          []Variable{{"GOPROXY", "https://go.example.org,direct"}},
		Certificates: []Certificate{ca},
		Apt: &Apt{ID: "debian", Codename: "bookworm", Conf: "// conf\n",
			URIs: map[string][]string{"bookworm": {"http://10.0.0.1/debian"}, "bookworm-updates": {"http://10.0.0.1/debian"}}},
	}
}

// What Apply does comes at the first boot, stays at the next ones, changes with the
// host's configuration, and goes with it.
func TestApply(t *testing.T) {
	own, added := newCertificate(t), newCertificate(t)
	before := debian(own.PEM)
	root := image(t, before)
	if err := os.Symlink("../usr/lib/os-release", filepath.Join(root, "etc/os-release")); err != nil {
		t.Fatal(err)
	}
	before["/etc/os-release"] = "-> ../usr/lib/os-release"
	c := config(added)
	b := apply(t, root, c)

	bundle := "/etc/ssl/certs/ca-certificates.crt"
	block := func(text string) string { return blockBegin + "\n" + text + blockEnd + "\n" }
	want := maps.Clone(before)
	want["/etc/pip.conf"] = "[global]\n"
	want["/root/.cargo/config.toml"] = "# cargo\n"
	want["/etc/apt/apt.conf.d/80banger-archives"] = "// conf\n"
	want["/etc/apt/sources.list"] = "# the image's\n# banger: http://10.0.0.1/debian instead of http://deb.example.org/debian\ndeb http://10.0.0.1/debian bookworm main\n"
	want["/etc/apt/sources.list.d/x.sources"] = "Types: deb\n# banger: http://10.0.0.1/debian instead of http://deb.example.org/debian\nURIs: http://10.0.0.1/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
	want[bundle] = own.PEM + block(added.PEM)
	want["/usr/local/share/ca-certificates/banger-corp.crt"] = added.PEM
	want["/etc/ssl/certs/banger-corp.pem"] = "-> /usr/local/share/ca-certificates/banger-corp.crt"
	want[caFile] = added.PEM
	want["/etc/environment"] = "LANG=C\n" + block("GOPROXY=https://go.example.org,direct\nNODE_EXTRA_CA_CERTS="+caFile+"\nSSL_CERT_FILE="+bundle+"\nREQUESTS_CA_BUNDLE="+bundle+
		"\nCURL_CA_BUNDLE="+bundle+"\nGIT_SSL_CAINFO="+bundle+"\nCARGO_HTTP_CAINFO="+bundle+"\nJAVA_TOOL_OPTIONS=-Djavax.net.ssl.trustStore="+javaFile+"\n")
	same(t, "the first boot", want, content(t, root))
	finish(t, b)
	want[javaFile] = javaStore(append(derOf(own.PEM), derOf(added.PEM)...))
	same(t, "some time after", want, content(t, root))
	if fi, err := os.Stat(filepath.Join(root, "root/.cargo/config.toml")); err != nil || fi.Mode() != 0o600 {
		t.Errorf("the mode of the file for cargo is %v, %v", fi.Mode(), err)
	}

	stamp := func() (out map[string]time.Time) {
		out = map[string]time.Time{}
		for p := range content(t, root) {
			if fi, err := os.Lstat(filepath.Join(root, p)); err == nil {
				out[p] = fi.ModTime()
			}
		}
		return out
	}
	old := stamp()
	finish(t, apply(t, root, c))
	same(t, "the second boot", want, content(t, root))
	if diff := cmp.Diff(old, stamp()); diff != "" {
		t.Errorf("the second boot writes (-first +second):\n%s", diff)
	}

	c.Files[0].Content = "[global]\nproxy=x\n"
	c.Apt.URIs["bookworm"] = []string{"http://10.0.0.2/debian"}
	c.Env[0].Value = "off"
	apply(t, root, c)
	want["/etc/pip.conf"] = c.Files[0].Content
	want["/etc/apt/sources.list"] = strings.ReplaceAll(want["/etc/apt/sources.list"], "10.0.0.1", "10.0.0.2")
	want["/etc/apt/sources.list.d/x.sources"] = before["/etc/apt/sources.list.d/x.sources"] // its suites are in two places now
	want["/etc/environment"] = strings.ReplaceAll(want["/etc/environment"], "https://go.example.org,direct", "off")
	same(t, "another configuration", want, content(t, root))

	apply(t, root, Config{})
	before["/etc/environment"] = "LANG=C\n" // had no end of line
	same(t, "no configuration", before, content(t, root))
}

func TestNothing(t *testing.T) {
	before := debian("")
	root := image(t, before)
	apply(t, root, Config{})
	same(t, "no configuration", before, content(t, root))
	if _, err := os.Stat(filepath.Join(root, stateFile)); err == nil {
		t.Error("a state was written for nothing")
	}
}

// What the user changed or removed in the guest stays so.
func TestUsersOwn(t *testing.T) {
	root := image(t, map[string]string{"/etc/npmrc": "registry=https://own.example.org\n", "/etc/environment": "GOPROXY=direct\nexport GOSUMDB = off\n"})
	c := Config{
		Files: []File{{"/etc/npmrc", 0o644, "registry=https://host.example.org\n"}, {"/etc/pip.conf", 0o644, "a\n"}, {"/etc/uv/uv.toml", 0o644, "a\n"}},
		Env:   []Variable{{"GOPROXY", "off"}, {"GOSUMDB", "sum.example.org"}, {"GOPRIVATE", "x"}},
	}
	apply(t, root, c, `"/etc/npmrc" stays as it is: it is not banger's`)
	write(t, root, "/etc/pip.conf", "mine\n")
	if err := os.Remove(filepath.Join(root, "etc/uv/uv.toml")); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"/etc/npmrc": "registry=https://own.example.org\n", "/etc/pip.conf": "mine\n",
		"/etc/environment": "GOPROXY=direct\nexport GOSUMDB = off\n" + blockBegin + "\nGOPRIVATE=x\n" + blockEnd + "\n",
	}
	for _, content2 := range []string{"a\n", "b\n"} {
		c.Files[1].Content, c.Files[2].Content = content2, content2
		apply(t, root, c, "it is not banger's", "it was changed in the guest", "it was changed in the guest")
		same(t, "the next boot", want, content(t, root))
	}
	apply(t, root, Config{})
	want["/etc/environment"] = "GOPROXY=direct\nexport GOSUMDB = off\n"
	same(t, "no configuration", want, content(t, root))
}

// A boot that is cut between the state and the files, at any of them, is made good by
// the next.
func TestCut(t *testing.T) {
	c := Config{Files: []File{{"/a", 0o644, "new\n"}, {"/b", 0o644, "new\n"}}}
	for _, there := range []map[string]string{
		{"/a": "old\n", "/b": "old\n"}, {"/a": "new\n", "/b": "old\n"}, {"/a": "new\n", "/b": "new\n"}, {"/a": "new\n"}, {},
	} {
		root := image(t, there)
		both := `["` + digest("old\n") + `","` + digest("new\n") + `",""]`
		write(t, root, stateFile, `{"files":{"/a":`+both+`,"/b":`+both+`,"/c":["`+digest("x")+`"]}}`)
		write(t, root, "/.a.banger", "ha")
		apply(t, root, c)
		delete(there, "/.a.banger")
		got := content(t, root)
		delete(got, "/.a.banger") // goes when /a is written next
		same(t, "after a cut", map[string]string{"/a": "new\n", "/b": "new\n"}, got)
	}
}

// No link is followed, wherever it is, and nothing outside the root is touched.
func TestLinks(t *testing.T) {
	outside := image(t, map[string]string{"/environment": "OUT=1\n", "/sources.list": "deb http://deb.example.org/debian bookworm main\n", "/pip.conf": "out\n", "/ca-certificates.crt": newCertificate(t).PEM})
	before := content(t, outside)
	for _, tt := range []struct {
		link, to string
		notes    []string
	}{
		{"/etc", outside, nil},
		{"/etc/environment", outside + "/environment", nil},
		{"/etc/pip.conf", outside + "/pip.conf", nil},
		{"/etc/pip.conf", "environment", nil},
		{"/etc/apt", outside, nil},
		{"/etc/apt/sources.list", outside + "/sources.list", nil},
		{"/etc/ssl/certs", outside, nil},
		{"/root", outside, nil},
		{"/var", outside, nil},
		{"/usr/local/share/ca-certificates", outside, nil},
	} {
		root := image(t, map[string]string{"/usr/lib/os-release": "ID=debian\nVERSION_CODENAME=bookworm\n"})
		p := filepath.Join(root, tt.link)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(tt.to, p); err != nil {
			t.Fatal(err)
		}
		notes, err := boot(root, config(newCertificate(t))).Apply()
		if err == nil && len(notes) == 0 && !strings.HasPrefix(tt.link, "/etc/apt") && tt.link != "/etc/ssl/certs" {
			t.Errorf("a link at %s: no note and no error", tt.link)
		}
		if to, err := os.Readlink(p); err != nil || to != tt.to {
			t.Errorf("the link at %s leads to %q, %v", tt.link, to, err)
		}
		same(t, "outside, after a link at "+tt.link, before, content(t, outside))
	}
}

// Whatever else is in a file's place stays, and the rest is done.
func TestNoFiles(t *testing.T) {
	root := image(t, map[string]string{"/root": "a file"})
	for _, p := range []string{"etc/pip.conf", "usr"} {
		if err := os.MkdirAll(filepath.Join(root, p), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(root, "etc/environment"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := config(newCertificate(t))
	c.Files = append(c.Files, File{"/etc/uv.toml", 0o644, "x\n"})
	notes, err := boot(root, c).Apply()
	if err != nil || len(notes) != 3 {
		t.Errorf("Apply = %q, %v, want three notes", notes, err)
	}
	if text, err := os.ReadFile(filepath.Join(root, "etc/uv.toml")); err != nil || string(text) != "x\n" {
		t.Errorf("the other file is %q, %v", text, err)
	}
}

func TestImageWithoutBundle(t *testing.T) {
	root := image(t, nil)
	ca := newCertificate(t)
	apply(t, root, Config{Certificates: []Certificate{ca}})
	same(t, "no bundle", map[string]string{
		"/usr/local/share/ca-certificates/banger-corp.crt": ca.PEM, caFile: ca.PEM,
		"/etc/environment": blockBegin + "\nNODE_EXTRA_CA_CERTS=" + caFile + "\n" + blockEnd + "\n",
	}, content(t, root))
	apply(t, root, Config{})
	same(t, "taken back", map[string]string{}, content(t, root))
}

func TestAnchorsOfOtherImages(t *testing.T) {
	own, ca := newCertificate(t), newCertificate(t)
	bundle := "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"
	root := image(t, map[string]string{bundle: own.PEM, "/etc/pki/ca-trust/source/anchors/x": ""})
	apply(t, root, Config{Certificates: []Certificate{ca, {"again", ca.PEM}}})
	got := content(t, root)
	if got["/etc/pki/ca-trust/source/anchors/banger-corp.crt"] != ca.PEM || strings.Count(got[bundle], "BEGIN CERTIFICATE") != 2 || !strings.Contains(got["/etc/environment"], "SSL_CERT_FILE="+bundle+"\n") {
		t.Errorf("the image has %v", got)
	}
	// The image's own tool has made the bundle anew, of what is in anchors.
	write(t, root, bundle, own.PEM+ca.PEM)
	apply(t, root, Config{Certificates: []Certificate{ca, {"again", ca.PEM}}})
	if got := content(t, root)[bundle]; got != own.PEM+ca.PEM {
		t.Errorf("the bundle made anew is changed to %q", got)
	}
}

func TestAnotherRelease(t *testing.T) {
	before := debian("")
	before["/usr/lib/os-release"] = "ID=debian\nVERSION_CODENAME=trixie\n"
	root := image(t, before)
	c := config(newCertificate(t))
	apply(t, root, Config{Apt: c.Apt})
	same(t, "another release", before, content(t, root))
}

func TestRefused(t *testing.T) {
	ca := newCertificate(t)
	key := "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
	for name, c := range map[string]Config{
		"a relative path":     {Files: []File{{"etc/x", 0o644, ""}}},
		"a path with dots":    {Files: []File{{"/etc/../x", 0o644, ""}}},
		"the root":            {Files: []File{{"/", 0o644, ""}}},
		"a large file":        {Files: []File{{"/x", 0o644, strings.Repeat("a", maxText+1)}}},
		"many files":          {Files: make([]File, maxFiles+1)},
		"a variable's name":   {Env: []Variable{{"A B", "x"}}},
		"a variable's lines":  {Env: []Variable{{"A", "x\nB=y"}}},
		"a certificate's dir": {Certificates: []Certificate{{"../x", ca.PEM}}},
		"a key":               {Certificates: []Certificate{{"x", key}}},
		"a key behind":        {Certificates: []Certificate{{"x", ca.PEM + key}}},
		"no certificate":      {Certificates: []Certificate{{"x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}}},
	} {
		root := image(t, nil)
		if _, err := boot(root, c).Apply(); err == nil {
			t.Errorf("%s: no error", name)
		}
		same(t, name, map[string]string{}, content(t, root))
	}
	if _, err := boot(filepath.Join(t.TempDir(), "gone"), Config{}).Apply(); err == nil {
		t.Error("a root that is not there: no error")
	}
}

func TestDamagedState(t *testing.T) {
	root := image(t, map[string]string{stateFile: "{", "/etc/pip.conf": "mine\n"})
	apply(t, root, Config{Files: []File{{"/etc/pip.conf", 0o644, "host\n"}, {"/etc/npmrc", 0o644, "host\n"}}}, "is damaged", "it is not banger's")
	same(t, "a damaged state", map[string]string{"/etc/pip.conf": "mine\n", "/etc/npmrc": "host\n"}, content(t, root))
}
