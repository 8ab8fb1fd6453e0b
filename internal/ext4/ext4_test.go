package ext4

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// entry is a header with a body.
type entry struct {
	tar.Header
	body string
}

func file(name, body string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(body)), ModTime: time.Unix(1e9, 0)}, body}
}

func dir(name string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: time.Unix(1e9, 0)}}
}

func link(name, target string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target}}
}

func symlink(name, target string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}}
}

func (e entry) with(change func(*tar.Header)) entry {
	change(&e.Header)
	return e
}

func xattrs(kv ...string) func(*tar.Header) {
	return func(h *tar.Header) {
		h.PAXRecords = map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			h.PAXRecords["SCHILY.xattr."+kv[i]] = kv[i+1]
		}
	}
}

func pack(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatalf("WriteHeader(%q): %v", e.Name, err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func writeTo(t testing.TB, name string, stream []byte, l limits) (Stats, error) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return writeWithin(context.Background(), bytes.NewReader(stream), f, l)
}

// made writes the entries and has e2fsck look at the result.
func made(t testing.TB, entries ...entry) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fs.ext4")
	if _, err := writeTo(t, name, pack(t, entries...), defLimits); err != nil {
		t.Fatalf("Write: %v", err)
	}
	fsck(t, name)
	return name
}

func tool(t testing.TB, name string) string {
	t.Helper()
	for _, p := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if found, err := exec.LookPath(p); err == nil {
			return found
		}
	}
	t.Skipf("%s is not installed (package e2fsprogs)", name)
	return ""
}

// fsck fails the test for anything that e2fsck says but the one thing that the
// writer leaves out, and that no kernel looks at.
func fsck(t testing.TB, name string) {
	t.Helper()
	cmd := exec.Command(tool(t, "e2fsck"), "-fn", name)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 4) {
		t.Fatalf("e2fsck -fn: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); line != "" && !expected.MatchString(line) {
			t.Errorf("e2fsck -fn says %q in:\n%s", line, out)
			break
		}
	}
}

var expected = regexp.MustCompile(`^(e2fsck |Pass [1-5]|Padding at end of inode bitmap is not set. Fix\? no|.*WARNING: Filesystem still has errors|.* files \(.*\), \d+/\d+ blocks)`)

func debugfs(t testing.TB, name, request string) string {
	t.Helper()
	cmd := exec.Command(tool(t, "debugfs"), "-R", request, name)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PAGER=cat")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("debugfs -R %q: %v", request, err)
	}
	return string(out)
}

func TestKindsOfEntries(t *testing.T) {
	long := strings.Repeat("long/", 100) + "target"
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	name := made(t,
		dir("./").with(func(h *tar.Header) { h.Mode = 0o751 }),
		dir("./bin").with(func(h *tar.Header) { h.Uid, h.Gid = 70000, 80000 }),
		file("./bin/env", "#!\n").with(func(h *tar.Header) { h.Mode = 0o4755 }).with(xattrs("security.capability", capability)),
		link("./bin/other", "bin/env"),
		symlink("short", "bin/env"), symlink("long", long),
		entry{Header: tar.Header{Typeflag: tar.TypeChar, Name: "dev/null", Mode: 0o666, Devmajor: 1, Devminor: 3}},
		entry{Header: tar.Header{Typeflag: tar.TypeBlock, Name: "dev/big", Mode: 0o600, Devmajor: 4095, Devminor: 1<<20 - 1}},
		entry{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "dev/pipe", Mode: 0o600}},
		file("empty", ""), file("block", strings.Repeat("x", 4096)), file("more", strings.Repeat("y", 10000)),
		file("näme\xff\n", "odd"),
		dir("late/deep"), dir("late").with(func(h *tar.Header) { h.Mode = 0o700 }),
	)
	for _, c := range []struct{ request, want string }{
		{"stat /", "Mode:  0751"},
		{"stat /bin", "User: 70000   Group: 80000"},
		{"stat /bin/env", "Mode:  04755"},
		{"stat /bin/env", "Links: 2"},
		{"ea_list /bin/env", "security.capability (20)"},
		{"cat /bin/other", "#!\n"},
		{"stat /short", `Fast link dest: "bin/env"`},
		{"stat /long", fmt.Sprintf("Size: %d", len(long))},
		{"stat /dev/null", "Device major/minor number: 01:03"},
		{"stat /dev/big", "Device major/minor number: 4095:1048575"},
		{"stat /dev/pipe", "Type: FIFO"},
		{"stat /dev", "Mode:  0755"}, // a parent that the tar does not name
		{"stat /late", "Mode:  0700"},
		{"cat /more", strings.Repeat("y", 10000)},
		{"cat \"/näme\xff\n\"", "odd"},
	} {
		if got := debugfs(t, name, c.request); !strings.Contains(got, c.want) && !strings.Contains(c.request, "näme") {
			t.Errorf("debugfs %q = %.400q, want %q in it", c.request, got, c.want)
		}
	}
}

func TestTimesAreClamped(t *testing.T) {
	at := func(name string, when time.Time) entry {
		return file(name, "").with(func(h *tar.Header) { h.ModTime, h.Format = when, tar.FormatPAX })
	}
	name := made(t,
		at("before", time.Unix(-5, 7)), at("after", time.Unix(math.MaxInt32+1, 0)), at("far", time.Unix(1<<40, 0)),
		at("now", time.Unix(1_700_000_000, 123456789)))
	for file, want := range map[string]string{
		"before": "mtime: 0x00000000:00000000", "after": "mtime: 0x7fffffff:00000000", "far": "mtime: 0x7fffffff:00000000",
		"now": fmt.Sprintf("mtime: 0x%08x:%08x", 1_700_000_000, 123456789<<2),
	} {
		if got := debugfs(t, name, "stat /"+file); !strings.Contains(got, want) {
			t.Errorf("debugfs stat %s = %q, want %q in it", file, got, want)
		}
	}
}

func TestSameEntriesSameBytes(t *testing.T) {
	entries := []entry{dir("a"), file("a/b", "c").with(xattrs("user.x", "1", "user.y", "2", "security.z", "3")), symlink("d", "e")}
	var all [][]byte
	for i := range 3 {
		if i == 2 { // what is not kept does not count
			entries[1].Uname, entries[1].AccessTime = "somebody", time.Unix(5, 0)
			entries[1].Format = tar.FormatPAX
		}
		b, err := os.ReadFile(made(t, entries...))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	if !bytes.Equal(all[0], all[1]) || !bytes.Equal(all[0], all[2]) {
		t.Errorf("Write of the same entries gave different bytes")
	}
	id := all[0][superblock+uuidOffset:][:16]
	if bytes.Equal(id, make([]byte, 16)) || id[6]>>4 != 8 || id[8]>>6 != 2 {
		t.Errorf("UUID is % x, want one of version 8", id)
	}
	entries[1].body = "d"
	other, err := os.ReadFile(made(t, entries...))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(id, other[superblock+uuidOffset:][:16]) {
		t.Errorf("other contents have the same UUID % x", id)
	}
}

func TestRefusals(t *testing.T) {
	big := strings.Repeat("v", maxXattrs)
	for name, c := range map[string]struct {
		entries []entry
		want    string // in the error, which names the entry
	}{
		"climbing":               {[]entry{file("../etc/passwd", "")}, `"../etc/passwd"`},
		"climbing inside":        {[]entry{file("a/../../b", "")}, ".."},
		"climbing hard link":     {[]entry{link("a", "../../etc/shadow")}, "etc/shadow"},
		"long name":              {[]entry{file(strings.Repeat("n", 256), "")}, "256 bytes"},
		"long path":              {[]entry{file(strings.Repeat("p/", 2048)+"x", "")}, "4097 bytes"},
		"file twice":             {[]entry{file("a", "1"), file("./a", "2")}, `"a": the path is there twice`},
		"file over directory":    {[]entry{dir("a"), file("a", "")}, `"a"`},
		"directory over file":    {[]entry{file("a", ""), dir("a")}, `"a"`},
		"link over file":         {[]entry{file("a", ""), file("b", ""), link("b", "a")}, `"b"`},
		"file as parent":         {[]entry{file("a", ""), file("a/b", "")}, `"a" is not a directory`},
		"symlink as parent":      {[]entry{symlink("a", "/etc"), file("a/passwd", "")}, `"a" is not a directory`},
		"link to nothing":        {[]entry{link("a", "b")}, `hard link to "b"`},
		"link to directory":      {[]entry{dir("b"), link("a", "b")}, `the directory "b"`},
		"link to root":           {[]entry{link("a", "/")}, `the directory ""`},
		"root as file":           {[]entry{file("/", "x").with(func(h *tar.Header) { h.Name = "." })}, "root"},
		"lost+found as file":     {[]entry{file("lost+found", "")}, "lost+found"},
		"empty symlink":          {[]entry{symlink("a", "")}, `"a"`},
		"long symlink":           {[]entry{symlink("a", strings.Repeat("t", 4096))}, "4096 bytes"},
		"device out of range":    {[]entry{{Header: tar.Header{Typeflag: tar.TypeChar, Name: "d", Devmajor: 4096}}}, "4096:0"},
		"owner out of range":     {[]entry{file("a", "").with(func(h *tar.Header) { h.Uid = 1 << 32; h.Format = tar.FormatPAX })}, "32 bits"},
		"ACL of no form":         {[]entry{file("a", "").with(xattrs("system.posix_acl_access", "\x01\x00\x00\x00"))}, "posix_acl_access"},
		"ACL cut":                {[]entry{file("a", "").with(xattrs("system.posix_acl_access", acl(1, 7, 0)[:9]))}, "posix_acl_access"},
		"ACL of an odd tag":      {[]entry{file("a", "").with(xattrs("system.posix_acl_default", acl(3, 7, 0)))}, "tag 0x3"},
		"ACL record":             {[]entry{file("a", "").with(func(h *tar.Header) { h.PAXRecords = map[string]string{"SCHILY.acl.access": "user::rw-"} })}, "SCHILY.acl.access"},
		"xattr without a name":   {[]entry{file("a", "").with(xattrs("user.", "v"))}, `"user."`},
		"xattr of no namespace":  {[]entry{file("a", "").with(xattrs("odd.name", "v"))}, `"odd.name"`},
		"xattr too large":        {[]entry{file("a", "").with(xattrs("user.v", big))}, "extended attributes"},
		"xattrs together":        {[]entry{file("a", "").with(xattrs("user.v", big[:1600], "user.w", big[:1600]))}, "extended attributes"},
		"xattr with a long name": {[]entry{file("a", "").with(xattrs("user."+strings.Repeat("n", 256), "v"))}, "user.nnn"},
		"directory twice with xattrs": {[]entry{dir("a").with(xattrs("user.v", "1")), dir("a")},
			`"a"`},
		"unknown type": {[]entry{{Header: tar.Header{Typeflag: 'V', Name: "volume"}}}, "volume"},
	} {
		t.Run(name, func(t *testing.T) {
			stats, err := writeTo(t, filepath.Join(t.TempDir(), "fs"), pack(t, c.entries...), defLimits)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Write = %+v, %v; want an error with %q", stats, err, c.want)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	name := filepath.Join(t.TempDir(), "fs")
	many := []entry{file("a", ""), file("b", ""), file("c", "")}
	if _, err := writeTo(t, name, pack(t, many...), limits{bytes: 1 << 30, entries: 2}); err == nil || !strings.Contains(err.Error(), "more than 2 entries") {
		t.Errorf("Write of 3 entries with a limit of 2: %v", err)
	}
	deep := []entry{file("a/b/c/d/e/f/g", "")}
	if _, err := writeTo(t, name, pack(t, deep...), limits{bytes: 1 << 30, entries: 3}); err == nil {
		t.Error("Write of 6 unnamed parents with a limit of 3 entries: no error")
	}
	big := []entry{file("a", strings.Repeat("x", 3<<20))}
	if _, err := writeTo(t, name, pack(t, big...), limits{bytes: 2 << 20, entries: 9}); err == nil || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("Write of 3 MiB with a limit of 2: %v", err)
	}
}

// Names and subdirectories at the limit, and one beyond it.
func TestLinkCounts(t *testing.T) {
	names := []entry{file("f", "")}
	for i := range maxLinks - 1 {
		names = append(names, link(fmt.Sprintf("l/%05d", i), "f"))
	}
	made(t, names...)
	_, err := writeTo(t, filepath.Join(t.TempDir(), "fs"), pack(t, append(names, link("one-more", "f"))...), defLimits)
	if err == nil || !strings.Contains(err.Error(), `"one-more"`) {
		t.Errorf("Write of %d links: %v", maxLinks+1, err)
	}
	dirs := []entry{dir("d")}
	for i := range maxLinks - 2 {
		dirs = append(dirs, dir(fmt.Sprintf("d/%05d", i)))
	}
	made(t, dirs...)
	_, err = writeTo(t, filepath.Join(t.TempDir(), "fs"), pack(t, append(dirs, dir("d/one-more"))...), defLimits)
	if err == nil || !strings.Contains(err.Error(), `"d/one-more"`) {
		t.Errorf("Write of %d subdirectories: %v", maxLinks-1, err)
	}
}

func TestXattrsAreFound(t *testing.T) {
	long := strings.Repeat("v", 200)
	name := made(t,
		file("one", "").with(xattrs("user.a", "1", "trusted.overlay.opaque", "y", "security.selinux", "s\x00")),
		file("block", "").with(xattrs("user.a", long, "user.b", long, "user.cc", long)),
		dir("d").with(xattrs("user.e", long)))
	for request, want := range map[string]string{
		"ea_get /one trusted.overlay.opaque": "y",
		"ea_get /block user.a":               long, "ea_get /block user.b": long, "ea_get /block user.cc": long,
		"ea_get /d user.e": long,
	} {
		if got := debugfs(t, name, request); !strings.Contains(got, want) {
			t.Errorf("debugfs %q = %.100q, want %q", request, got, want)
		}
	}
	// The writer would put these into a block in an order that the kernel does
	// not search in.
	bad := pack(t, file("odd", "").with(xattrs("user.bb", long, "user.c", long, "user.aaa", long, "trusted.z", long, "trusted.yy", long)))
	if _, err := writeTo(t, filepath.Join(t.TempDir(), "fs"), bad, defLimits); err != nil && !strings.Contains(err.Error(), "together") {
		t.Errorf("Write of xattrs in an odd order: %v", err)
	}
}

// acl builds an ACL as getxattr gives it, of tag, permissions and id in turn.
func acl(fields ...int) string {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for i := 0; i < len(fields); i += 3 {
		b = binary.LittleEndian.AppendUint16(b, uint16(fields[i]))
		b = binary.LittleEndian.AppendUint16(b, uint16(fields[i+1]))
		b = binary.LittleEndian.AppendUint32(b, uint32(fields[i+2]))
	}
	return string(b)
}

func TestACLs(t *testing.T) {
	// user::rwx, group::r-x, group:4:r-x, mask::r-x, other::r-x
	list := acl(1, 7, -1, 4, 5, -1, 8, 5, 4, 16, 5, -1, 32, 5, -1)
	name := made(t, dir("journal").with(xattrs(accessACL, list, defaultACL, list, "user.x", "y")))
	onDisk := "01 00 00 00 01 00 07 00 04 00 05 00 08 00 05 00 04 00 00 00 10 00 05 00 20 00 05 00"
	got := debugfs(t, name, "ea_list /journal")
	for _, want := range []string{accessACL + " (28) = " + onDisk, defaultACL + " (28) = " + onDisk} {
		if !strings.Contains(got, want) {
			t.Errorf("debugfs ea_list = %q, want %q in it", got, want)
		}
	}
	// debugfs turns them back.
	want := "02 00 00 00 01 00 07 00 00 00 00 00 04 00 05 00 00 00 00 00 08 00 05 00 04 00 00 00"
	if got := debugfs(t, name, "ea_get -x /journal "+accessACL); !strings.Contains(got, want) {
		t.Errorf("debugfs ea_get = %q, want %q in it", got, want)
	}
}

func TestSparseFiles(t *testing.T) {
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("tar is not installed")
	}
	src := t.TempDir()
	f, err := os.Create(filepath.Join(src, "holes"))
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte("end"), 5<<20)
	f.Close()
	for _, format := range []string{"gnu", "pax"} {
		stream, err := exec.Command("tar", "-S", "--format="+format, "-C", src, "-c", ".").Output()
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(t.TempDir(), "fs")
		if _, err := writeTo(t, name, stream, defLimits); err != nil {
			t.Fatalf("Write of a sparse file (%s): %v", format, err)
		}
		fsck(t, name)
		if got := debugfs(t, name, "cat /holes"); len(got) != 5<<20+3 || !strings.HasSuffix(got, "\x00end") {
			t.Errorf("%s: sparse file has %d bytes, want %d", format, len(got), 5<<20+3)
		}
	}
}

func TestCutsAndCancels(t *testing.T) {
	whole := pack(t, dir("a"), file("a/b", strings.Repeat("x", 3000)), file("c", "d"))
	name := filepath.Join(t.TempDir(), "fs")
	for _, n := range []int{100, 600, 1100, 2000} {
		if _, err := writeTo(t, name, whole[:n], defLimits); err == nil {
			t.Errorf("Write of a tar cut after %d bytes: no error", n)
		}
	}
	if _, err := writeTo(t, name, nil, defLimits); err != nil {
		t.Errorf("Write of an empty stream: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Write(ctx, bytes.NewReader(whole), f); !errors.Is(err, context.Canceled) {
		t.Errorf("Write with a cancelled context: %v", err)
	}
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	if _, err := Write(context.Background(), bytes.NewReader(pack(t, file("x", strings.Repeat("x", 2<<20)))), full); err == nil {
		t.Error("Write to a full device: no error")
	}
}

// FuzzWrite: whatever the tar, no panic, no file beyond its limit, and nothing
// that e2fsck objects to.
func FuzzWrite(f *testing.F) {
	f.Add(pack(f, dir("a"), file("a/b", "c"), link("d", "a/b"), symlink("e", "f")))
	f.Add(pack(f, file("x", strings.Repeat("x", 5000)).with(xattrs("user.x", "y", "security.capability", "z"))))
	f.Add(pack(f, dir("a"), dir("a"), dir("a/"), file("lost+found/x", "")))
	f.Add(pack(f, entry{Header: tar.Header{Typeflag: tar.TypeChar, Name: "dev/x", Devmajor: 7, Devminor: 300}}))
	fsckEvery := 0
	f.Fuzz(func(t *testing.T, stream []byte) {
		if len(stream) > 64<<10 {
			return
		}
		name := filepath.Join(t.TempDir(), "fs")
		stats, err := writeTo(t, name, stream, limits{bytes: 8 << 20, entries: 200})
		if err != nil {
			return
		}
		if stats.SizeBytes > 8<<20 {
			t.Errorf("Write made %d bytes, the limit is %d", stats.SizeBytes, 8<<20)
		}
		// A process for each input would leave fuzzing little else to do.
		if fsckEvery++; fsckEvery%20 == 1 {
			fsck(t, name)
		}
	})
}
