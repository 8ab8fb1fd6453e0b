package untar

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/shtest"
)

func asRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("owners and devices need root")
	}
}

var sh = shtest.Run

// What tar(1) packs is what it finds unpacked.
func TestAsPacked(t *testing.T) {
	asRoot(t)
	from, to := t.TempDir(), t.TempDir()
	sh(t, from, `mkdir -p d/e "$(printf 'n\nl')" deep/a/b/c; echo 1 >d/f; ln d/f d/g; ln -s f d/l; ln -s /etc/passwd abs; mknod null c 1 3; mknod disk b 8 300; mkfifo pipe
		chown 1234:4321 d/f; chown -h 99:98 d/l; chmod 6755 d/g; chmod 1777 d; printf x >"$(printf '\377')"; truncate -s 8M hole; echo end >>hole; truncate -s 16M end
		touch -d @-86400 d/f; touch -d @4000000000.123456789 hole; touch -d @1500000000.5 d/e; touch -h -d @1400000000 d/l
		for i in $(seq 300); do echo $i >deep/a/b/c/$i; done`)
	attributes := []struct{ path, name, value string }{
		{"d/e", "user.a", "b"}, {"hole", "trusted.t", strings.Repeat("x", 900)},
		// cap_net_raw+ep (include/uapi/linux/capability.h, version 2).
		{"d/g", "security.capability", "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
	}
	for _, a := range attributes {
		if err := unix.Setxattr(filepath.Join(from, a.path), a.name, []byte(a.value), 0); err != nil {
			t.Skipf("set %s here: %v", a.name, err)
		}
	}
	tree := filepath.Join(t.TempDir(), "tree.tar")
	sh(t, from, "tar --posix --xattrs --xattrs-include='*' --numeric-owner -cf "+tree+" .")
	f, err := os.Open(tree)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := Unpack(t.Context(), f, to)
	if err != nil {
		t.Fatal(err)
	}
	if got.Entries < 310 || got.Bytes < 24<<20 {
		t.Errorf("Unpack = %+v", got)
	}
	if out := sh(t, to, "tar --xattrs --xattrs-include='*' --numeric-owner -df "+tree+" 2>&1 || true"); out != "" {
		t.Errorf("tar -d says:\n%s", out)
	}
	// What tar -d does not look at.
	const list = `find . -printf '%P %y %m %U:%G %n %T@ %l\n' | sort`
	if a, b := sh(t, from, list), sh(t, to, list); a != b {
		t.Errorf("packed:\n%s\nunpacked:\n%s", a, b)
	}
	var st unix.Stat_t
	for _, name := range []string{"hole", "end"} {
		if err := unix.Stat(filepath.Join(to, name), &st); err != nil || st.Blocks*512 > 64<<10 {
			t.Errorf("%s takes %d bytes, %v", name, st.Blocks*512, err)
		}
	}
	for _, a := range attributes {
		value := make([]byte, 4096)
		n, err := unix.Getxattr(filepath.Join(to, a.path), a.name, value)
		if err != nil || string(value[:n]) != a.value {
			t.Errorf("attribute %s of %s is %.40q, %v", a.name, a.path, value[:max(n, 0)], err)
		}
	}
}

func TestAccessLists(t *testing.T) {
	for text, want := range map[string]string{
		"user::rwx\nuser:1000:r-x\ngroup::r-x\nmask::rwx\nother::r--\n": "\x02\x00\x00\x00" +
			"\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x05\x00\xe8\x03\x00\x00\x04\x00\x05\x00\xff\xff\xff\xff\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff",
		"group:staff:rw-:50": "\x02\x00\x00\x00\x08\x00\x06\x00\x32\x00\x00\x00",
		"":                   "\x02\x00\x00\x00",
	} {
		if got, err := aclAttribute(text); err != nil || got != want {
			t.Errorf("aclAttribute(%q) = %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"user:somebody:rwx", "user::rw", "user::xwr", "nobody::rwx", "user", "user:-1:rwx", "user:4294967296:rwx"} {
		if got, err := aclAttribute(text); err == nil {
			t.Errorf("aclAttribute(%q) = %q", text, got)
		}
	}
}

type entry struct {
	tar.Header
	body string
}

func pack(t *testing.T, entries ...entry) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size = int64(len(e.body))
		e.ModTime = time.Unix(1e9, 0)
		e.Uid, e.Gid = os.Getuid(), os.Getgid()
		if e.Mode == 0 {
			e.Mode = 0o755
		}
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, e.body)
	}
	w.Close()
	return &b
}

func file(name, body string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name}, body}
}

func link(kind byte, name, target string) entry {
	return entry{Header: tar.Header{Typeflag: kind, Name: name, Linkname: target}}
}

func dir(name string) entry { return entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: name}} }

// Nothing is written or read outside of the directory, whatever the entries are called and
// lead to.
func TestHostile(t *testing.T) {
	for name, c := range map[string]struct {
		entries []entry
		want    string // of the error; "" is none
		made    string // listed beneath the directory
	}{
		"up":                     {[]entry{file("../x", "x")}, "leads up", ""},
		"up inside":              {[]entry{file("a/../../x", "x")}, "leads up", ""},
		"absolute":               {[]entry{file("/x", "x")}, "", "x"},
		"through a link up":      {[]entry{link(tar.TypeSymlink, "l", "../.."), file("l/x", "x")}, "", "l x"},
		"through an absolute":    {[]entry{dir("etc"), link(tar.TypeSymlink, "l", "/etc"), file("l/x", "x")}, "", "etc etc/x l"},
		"through a missing one":  {[]entry{link(tar.TypeSymlink, "l", "/nowhere"), file("l/x", "x")}, "l/x", ""},
		"through a loop":         {[]entry{link(tar.TypeSymlink, "l", "l"), file("l/x", "x")}, "l/x", ""},
		"through proc":           {[]entry{link(tar.TypeSymlink, "l", "/proc/self/root"), file("l/x", "x")}, "l/x", ""},
		"hard link up":           {[]entry{link(tar.TypeLink, "h", "../../etc/passwd")}, "leads up", ""},
		"hard link out":          {[]entry{link(tar.TypeLink, "h", "/etc/passwd")}, "link to", ""},
		"hard link to a link":    {[]entry{link(tar.TypeSymlink, "l", "/etc/passwd"), link(tar.TypeLink, "h", "l")}, "", "h l"},
		"hard link through one":  {[]entry{link(tar.TypeSymlink, "l", "/etc"), link(tar.TypeLink, "h", "l/passwd")}, "link to", ""},
		"a file through a link":  {[]entry{link(tar.TypeSymlink, "l", "/etc/x"), file("l", "x")}, "", "l"},
		"a file for a directory": {[]entry{dir("d"), file("d/f", "1"), file("d", "x")}, `"d"`, ""},
		"a directory for a file": {[]entry{file("d", "x"), dir("d"), file("d/f", "1")}, "", "d d/f"},
		"twice":                  {[]entry{file("f", "1"), file("f", "22")}, "", "f"},
		"the root a file":        {[]entry{file(".", "x")}, "root is a directory", ""},
		"an unknown type":        {[]entry{link('Z', "z", "")}, "unknown", ""},
		"no directory entry":     {[]entry{file("a/b/c", "1")}, "", "a a/b a/b/c"},
	} {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			inner := filepath.Join(outer, "in", "ner")
			if err := os.MkdirAll(inner, 0o755); err != nil {
				t.Fatal(err)
			}
			_, err := Unpack(t.Context(), pack(t, c.entries...), inner)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("Unpack = %v, want %q", err, c.want)
			}
			if out := sh(t, outer, "find . -mindepth 1 -path ./in/ner -prune -o -path ./in -o -mindepth 1 -print"); out != "" {
				t.Errorf("outside of it lie\n%s", out)
			}
			if got := strings.Join(strings.Fields(sh(t, inner, "find . -mindepth 1 -printf '%P\n' | sort")), " "); c.want == "" && got != c.made {
				t.Errorf("made %q, want %q", got, c.made)
			}
		})
	}
}

// A stream that is cut, or that lies about a size, is an error.
func TestCut(t *testing.T) {
	whole, err := io.ReadAll(pack(t, dir("d"), file("d/f", strings.Repeat("x", 5000)), file("g", "1")))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{100, 700, 1600, 3000, 5000} {
		if _, err := Unpack(t.Context(), bytes.NewReader(whole[:n]), t.TempDir()); err == nil {
			t.Errorf("a stream that is cut after %d bytes of %d: no error", n, len(whole))
		}
	}
}

func FuzzUnpack(f *testing.F) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "/etc"})
	w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "l/x", Size: 1, Mode: 0o644})
	fmt.Fprint(w, "x")
	w.Close()
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, stream []byte) {
		if len(stream) > 64<<10 {
			return
		}
		outer := t.TempDir()
		inner := filepath.Join(outer, "inner")
		os.Mkdir(inner, 0o755)
		Unpack(t.Context(), bytes.NewReader(stream), inner)
		if left, _ := os.ReadDir(outer); len(left) != 1 {
			t.Errorf("outside of it lie %v", left)
		}
	})
}
