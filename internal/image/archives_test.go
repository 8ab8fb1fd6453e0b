package image

import (
	"archive/tar"
	"bytes"
	"slices"
	"strings"
	"testing"
)

func treeOf(t testing.TB, files ...string) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[i+1]))}); err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(files[i+1]))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

func TestArchives(t *testing.T) {
	got, err := archives(treeOf(t,
		"./etc/hostname", "deb http://no.example.org/ x main\n",
		"./etc/apt/sources.list", "deb [signed-by=/x.gpg] http://Deb.example.org/debian bookworm main\n"+
			"# deb http://off.example.org/ bookworm main\ndeb-src http://deb.example.org/debian bookworm main\n"+
			"deb http://user:secret@sec.example.org:8080/path?q bookworm main\ndeb file:/srv/apt bookworm main\ndeb cdrom:[x]/ bookworm main\n",
		"etc/apt/sources.list.d/more.sources", "Types: deb\nURIs: https://more.example.org/a https://deb.example.org/\nSuites: x\n\nEnabled: no\nURIs: http://no.example.org\nSuites: x\n",
		"etc/apt/sources.list.d/deep/x.list", "deb http://no.example.org/ x main\n",
		"etc/apt/sources.list.d/x.save", "deb http://no.example.org/ x main\n",
		"opt/etc/apt/sources.list", "deb http://no.example.org/ x main\n"))
	want := []string{"http://deb.example.org", "http://sec.example.org:8080", "https://more.example.org", "https://deb.example.org"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("archives() = %q, %v, want %q", got, err, want)
	}
	if got, err := archives(treeOf(t, "etc/apt/sources.list", strings.Repeat("#\n", maxSources))); err != nil || len(got) > 0 {
		t.Errorf("of a large file: %q, %v", got, err)
	}
	whole := treeOf(t, "a", strings.Repeat("x", 2000)).Bytes()
	if _, err := archives(bytes.NewReader(whole[:1000])); err == nil {
		t.Error("a tar that is cut off is no error")
	}
}

func FuzzArchives(f *testing.F) {
	f.Add("deb http://a.example.org:80/x s c\n", "URIs: http://b.example.org\nSuites: x\n")
	f.Add("deb http://[::1]:x/ s c\n", "URIs: http://%zz https://@\n")
	f.Fuzz(func(t *testing.T, list, sources string) {
		got, err := archives(treeOf(t, "etc/apt/sources.list", list, "etc/apt/sources.list.d/a.sources", sources))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range got {
			again, ok := plain(a)
			if !ok || again != a || strings.ContainsAny(a, " \n") {
				t.Errorf("%q is no archive of which plain makes itself: %q, %t", a, again, ok)
			}
		}
	})
}
