package hostconfig

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A boot after one that was finished looks at nothing but stamps, unless something of what was
// looked at is another: then all is as without them.
func TestUnchanged(t *testing.T) {
	ca := newCertificate(t)
	c := config(ca)
	c.Files = append(c.Files, File{"/etc/npmrc", 0o644, "host\n"})
	bundle := "/etc/ssl/certs/ca-certificates.crt"
	for name, tt := range map[string]struct {
		change func(t *testing.T, root string)
		notes  []string // of the next boot
		same   bool     // there is nothing to do
	}{
		"nothing":                  {func(*testing.T, string) {}, []string{"it is not banger's"}, true},
		"a file beside":            {func(t *testing.T, root string) { write(t, root, "/etc/other", "x") }, []string{"it is not banger's"}, true},
		"a file of ours":           {func(t *testing.T, root string) { write(t, root, "/etc/pip.conf", "[global]\n") }, []string{"it is not banger's"}, false},
		"another text":             {func(t *testing.T, root string) { write(t, root, "/etc/pip.conf", "mine\n") }, []string{"it was changed", "it is not banger's"}, false},
		"the file that was not":    {func(t *testing.T, root string) { os.Remove(filepath.Join(root, "etc/npmrc")) }, nil, false},
		"the bundle":               {func(t *testing.T, root string) { write(t, root, bundle, "") }, []string{"it is not banger's"}, false},
		"another bundle":           {func(t *testing.T, root string) { write(t, root, "/etc/ssl/cert.pem", "") }, []string{"it is not banger's"}, false},
		"the environment":          {func(t *testing.T, root string) { write(t, root, "/etc/environment", "") }, []string{"it is not banger's"}, false},
		"one more of apt's":        {func(t *testing.T, root string) { write(t, root, "/etc/apt/sources.list.d/y.sources", "") }, []string{"it is not banger's"}, false},
		"another release":          {func(t *testing.T, root string) { write(t, root, "/usr/lib/os-release", "ID=other\n") }, []string{"it is not banger's"}, false},
		"another place of anchors": {func(t *testing.T, root string) { os.MkdirAll(filepath.Join(root, anchors[0]), 0o755) }, []string{"it is not banger's"}, false},
		"a link that is gone":      {func(t *testing.T, root string) { os.Remove(filepath.Join(root, debianCerts, "banger-corp.pem")) }, []string{"it is not banger's"}, true},
	} {
		files := debian(newCertificate(t).PEM)
		files["/etc/npmrc"] = "the image's\n"
		root := image(t, files)
		finish(t, apply(t, root, c, "it is not banger's"))
		first := content(t, root)
		tt.change(t, root)
		changed := content(t, root)
		b := apply(t, root, c, tt.notes...)
		if b.done.IsZero() != tt.same {
			t.Errorf("%s: it is %v that nothing is to be done, want %v", name, b.done.IsZero(), tt.same)
		}
		if tt.same {
			same(t, name, changed, content(t, root))
		}
		// As a boot that knows nothing of the one before it.
		quick := content(t, root)
		text, err := os.ReadFile(filepath.Join(root, stateFile))
		var s state
		if err != nil || json.Unmarshal(text, &s) != nil {
			t.Fatal(err)
		}
		s.Seen = nil
		text, _ = json.Marshal(s)
		write(t, root, stateFile, string(text))
		apply(t, root, c, tt.notes...)
		same(t, name+", anew", quick, content(t, root))
		if tt.same && name == "nothing" {
			same(t, name, first, quick)
		}
		apply(t, root, Config{})
		if left := content(t, root)["/etc/pip.conf"]; left != "" && left != "mine\n" {
			t.Errorf("%s: without a configuration /etc/pip.conf is %q", name, left)
		}
	}

	// What is changed between Apply and Finish is looked at in the next boot.
	root := image(t, debian(newCertificate(t).PEM))
	b := apply(t, root, config(ca))
	time.Sleep(20 * time.Millisecond) // the kernel's clock of files is coarse
	write(t, root, "/etc/environment", "GOPROXY=mine\n")
	finish(t, b)
	if b := apply(t, root, config(ca)); b.done.IsZero() || strings.Contains(content(t, root)["/etc/environment"], "go.example.org") {
		t.Errorf("a variable that the user set is banger's in the next boot: %q", content(t, root)["/etc/environment"])
	}
}
