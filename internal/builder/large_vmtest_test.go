//go:build vmtest

package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"banger/internal/channel"
	"banger/internal/channel/control"
	guestexec "banger/internal/channel/exec"
	"banger/internal/disk"
	"banger/internal/image"
	"banger/internal/kernel"
	"banger/internal/session"
	"banger/internal/vm"
	"banger/internal/vmm"
	"banger/internal/vmm/qemu"
)

var entries = flag.Int("entries", 1_000, "entries of the tree that is written and compared")

// TestManyEntries: what a builder's guest writes is what the tar says: names, links, hard
// links, owners, modes, times, attributes, holes. tar(1) compares them in another guest.
func TestManyEntries(t *testing.T) {
	boot, base, modules := testBoot(t)
	dir := t.TempDir()
	tree, made := packTree(t, dir, false)
	for _, name := range []string{"machine", "look"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "made.ext4")
	begin := time.Now()
	got, err := Write(t.Context(), boot, tree, path, filepath.Join(dir, "machine"), func(int64, int64) {})
	if err != nil || got.Entries != made.entries {
		t.Fatalf("Write = %+v, %v; want %d entries", got, err, made.entries)
	}
	t.Logf("%d entries, %d MiB: written in %.1f s", got.Entries, got.Bytes>>20, time.Since(begin).Seconds())
	wantWhole(t, path, made)
	begin = time.Now()
	if out := compare(t, boot, filepath.Join(dir, "look"), base, modules, path, tree.Name()); out != fmt.Sprint(made.names) {
		t.Errorf("tar -d, and the count of what there is:\n%.4000s\nwant only the count %d", out, made.names)
	}
	t.Logf("compared in %.1f s", time.Since(begin).Seconds())
}

// TestPlain: what mke2fs writes of a plain tree is what the tar says, compared likewise.
func TestPlain(t *testing.T) {
	boot, base, modules := testBoot(t)
	dir := t.TempDir()
	tree, made := packTree(t, dir, true)
	if err := os.Mkdir(filepath.Join(dir, "look"), 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "made.ext4")
	begin := time.Now()
	got, err := WritePlain(t.Context(), tree, path, filepath.Join(dir, "note"))
	if err != nil || got.Entries != made.entries {
		t.Fatalf("WritePlain = %+v, %v; want %d entries", got, err, made.entries)
	}
	t.Logf("%d entries, %d MiB: written in %.1f s", got.Entries, got.Bytes>>20, time.Since(begin).Seconds())
	wantWhole(t, path, made)
	for name := range made.attributes {
		out, err := exec.Command("/usr/sbin/debugfs", "-R", "ea_list "+name, path).Output()
		for _, want := range []string{
			"security.capability (20) = 01 00 00 02 00 20 00 00",
			"system.posix_acl_access (28) = 01 00 00 00 01 00 07 00 04 00 05 00 08 00 05 00 04 00 00 00 10 00 05 00 20 00 05 00",
		} {
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("attributes of %s: %s, %v; want %q", name, out, err, want)
			}
		}
	}
	if out := compare(t, boot, filepath.Join(dir, "look"), base, modules, path, tree.Name()); out != fmt.Sprint(made.names) {
		t.Errorf("tar -d, and the count of what there is:\n%.4000s\nwant only the count %d", out, made.names)
	}
}

// wantWhole wants a file system that e2fsck finds whole, with the attributes that were
// packed.
func wantWhole(t *testing.T, path string, made packed) {
	t.Helper()
	if out, err := exec.Command("/usr/sbin/e2fsck", "-fn", path).CombinedOutput(); err != nil {
		t.Errorf("e2fsck -fn: %v\n%s", err, out)
	}
	for name, want := range made.attributes {
		out, err := exec.Command("/usr/sbin/debugfs", "-R", "ea_list "+name, path).Output()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("attributes of %s: %s, %v; want %q", name, out, err, want)
		}
	}
}

// testBoot boots from the kernel that the program has in its cache, with its agent. It
// returns the default image and the modules too.
func testBoot(t *testing.T) (b Boot, base, modules string) {
	t.Helper()
	bin := os.Getenv("BANGER_TEST_BIN")
	if bin == "" {
		t.Skip("BANGER_TEST_BIN is not set: make test sets it")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	images, err := image.Open(filepath.Join(cache, "banger", "images"), image.Writer{})
	if err != nil {
		t.Fatal(err)
	}
	i, err := images.Get(image.Default)
	if err != nil {
		t.Fatal(err)
	}
	kernels, err := kernel.Open(filepath.Join(cache, "banger", "kernels"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := kernels.Get(kernel.Default)
	if err != nil {
		t.Fatal(err)
	}
	b = Boot{Driver: qemu.New(qemu.Config{Launcher: filepath.Join(bin, "bangerd")}), Kernel: k.Vmlinux}
	if b.Initrd, err = kernels.Initrd(t.Context(), k, filepath.Join(bin, "banger-agent")); err != nil {
		t.Fatal(err)
	}
	b.Found = b.Driver.Probe(t.Context())
	return b, i.Path, k.ModulesDisk
}

// compare returns what tar -d says in a guest of the image base about the file system
// made and the tree, a tar, and how many names there are.
func compare(t *testing.T, b Boot, dir, base, modules, made, tree string) string {
	t.Helper()
	data := filepath.Join(dir, "disk")
	if err := errors.Join(disk.Create(t.Context(), data, 2<<10), os.Mkdir(filepath.Join(dir, "run"), 0o700)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	id := vm.NewID()
	m, err := b.Driver.Launch(ctx, vmm.Spec{
		ID: id, Dir: dir, RunDir: filepath.Join(dir, "run"), VCPUs: 1, MemMiB: 1024, Kernel: b.Kernel, Initrd: b.Initrd, Found: b.Found,
		Disks: []vmm.Disk{{Path: base, ReadOnly: true}, {Path: data}, {Path: modules, ReadOnly: true},
			{Path: made, ReadOnly: true}, {Path: tree, ReadOnly: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() { io.Copy(io.Discard, m.Console()); close(read) }() // ends with the machine
	defer func() { m.Close(); <-read }()
	if _, err := m.Carrier().Hello(ctx); err != nil {
		t.Fatal(err)
	}
	client := control.NewClient(func(ctx context.Context) (net.Conn, error) { return m.Carrier().Dial(ctx, channel.PortControl) })
	who := control.Identity{Hostname: "look", MachineID: string(id) + string(id), UnixNano: time.Now().UnixNano(), Entropy: make([]byte, 64), NoInit: true}
	if _, err := client.Identity(ctx, who); err != nil {
		t.Fatal(err)
	}
	stream, err := m.Carrier().Dial(ctx, channel.PortExec)
	if err != nil {
		t.Fatal(err)
	}
	var out, said bytes.Buffer
	status, err := session.Run(ctx, stream, session.Options{Stdout: &out, Stderr: &said, Request: guestexec.Request{Argv: guestexec.Args("sh", "-c",
		"mount -o ro /dev/vdd /mnt && tar --numeric-owner -df /dev/vde -C /mnt; find /mnt -mindepth 1 -printf x | wc -c")}})
	if err != nil || status.Code != 0 {
		t.Fatalf("compare: %v, %v\n%s", status, err, said.String())
	}
	return strings.TrimSpace(out.String() + said.String())
}

// An access list that gives group 4 rx (linux/posix_acl_xattr.h), and a file's capability
// cap_net_raw (linux/capability.h), as the kernel gives them to programs.
const (
	accessValue = "\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x04\x00\x05\x00\xff\xff\xff\xff\x08\x00\x05\x00\x04\x00\x00\x00\x10\x00\x05\x00\xff\xff\xff\xff\x20\x00\x05\x00\xff\xff\xff\xff"
	capability  = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
)

// packed is what packMany wrote.
type packed struct {
	entries int
	names   int // beneath the root, lost+found with them
	// attributes are, by path, a part of what debugfs lists.
	attributes map[string]string
}

// packTree is packMany into a file in dir, which the test closes at its end.
func packTree(t *testing.T, dir string, plain bool) (*os.File, packed) {
	t.Helper()
	tree, err := os.Create(filepath.Join(dir, "tree.tar"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	made := packMany(t, tree, *entries, plain)
	if _, err := tree.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return tree, made
}

// packMany writes a tree of n entries, of all that a tar can say, or of what a plain one
// can have.
func packMany(t *testing.T, w io.Writer, n int, plain bool) packed {
	t.Helper()
	random := rand.New(rand.NewPCG(1, uint64(n)))
	out := tar.NewWriter(w)
	p := packed{names: 1, attributes: map[string]string{}}
	times := []time.Time{time.Unix(-86400, 5e8), time.Unix(0, 1), time.Unix(1.7e9, 123456789), time.Unix(4e9, 999999999), time.Unix(1e10, 0)}
	attribute, ids, minors, devices := "SCHILY.xattr.trusted.b", 1<<31-1, 1<<20, 0
	if plain {
		times = []time.Time{time.Unix(0, 0), time.Unix(1, 0), time.Unix(1.7e9, 0), time.Unix(1<<31-1, 0)}
		attribute, ids, minors = "SCHILY.xattr.user.b", 60000, 1<<16
	}
	add := func(h tar.Header, body []byte) {
		h.Format, h.Size = tar.FormatPAX, int64(len(body))
		h.ModTime = times[random.IntN(len(times))]
		h.Uid, h.Gid = random.IntN(ids), random.IntN(min(ids, 70000))
		if h.Mode == 0 {
			h.Mode = int64(random.IntN(0o10000))
		}
		if err := out.WriteHeader(&h); err != nil {
			t.Fatalf("%+v: %v", h, err)
		}
		if _, err := out.Write(body); err != nil {
			t.Fatal(err)
		}
		p.entries++
		p.names++
	}
	content := make([]byte, 64<<10)
	for at := range content {
		content[at] = byte(random.IntN(256))
	}
	dir, at, files := "", 0, []string{}
	for ; p.entries < n; at++ {
		if at%200 == 0 {
			parent := dir
			if at%2000 == 0 {
				parent = ""
			}
			dir = fmt.Sprintf("%sd%d-%s/", parent, at, strings.Repeat("x", random.IntN(200)))
			add(tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o700 | int64(random.IntN(0o10000))}, nil)
			continue
		}
		name := fmt.Sprintf("%sf%d", dir, at)
		switch kind := random.IntN(100); {
		case kind < 25 && len(files) > 0:
			// The header's owner, mode and time are the first name's.
			h := tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: files[max(0, len(files)-1-random.IntN(50))], Format: tar.FormatPAX}
			if err := out.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			p.entries++
			p.names++
		case kind < 45:
			add(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: strings.Repeat("../", random.IntN(20)) + strings.Repeat("y", 1+random.IntN(250)), Mode: 0o777}, nil)
		case kind < 46 && (!plain || devices < 50 && len(name) < 200): // as many as a plain tree's may be
			devices++
			add(tar.Header{Typeflag: tar.TypeChar, Name: name, Devmajor: int64(random.IntN(4096)), Devminor: int64(random.IntN(minors))}, nil)
		case kind < 47:
			add(tar.Header{Typeflag: tar.TypeFifo, Name: name}, nil)
		case kind < 49:
			value := fmt.Sprint("value", at)
			more := map[string]string{"SCHILY.xattr.user.a": value, attribute: strings.Repeat("z", random.IntN(1000))}
			if plain {
				more["SCHILY.xattr.system.posix_acl_access"], more["SCHILY.xattr.security.capability"] = accessValue, capability
			}
			p.attributes["/"+name] = value
			if len(p.attributes) > 20 {
				delete(p.attributes, "/"+name)
			}
			mode := int64(0)
			if plain {
				mode = 0o755 // what the access list says
			}
			add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, PAXRecords: more}, nil)
		case kind < 50:
			add(tar.Header{Typeflag: tar.TypeReg, Name: dir + fmt.Sprintf("%d-\xff\n", at) + strings.Repeat("n", 240-len(fmt.Sprint(at)))}, []byte("long"))
		case kind < 51:
			holes := make([]byte, 128<<10)
			copy(holes[random.IntN(100<<10):], "data")
			add(tar.Header{Typeflag: tar.TypeReg, Name: name}, holes)
			files = append(files, name)
		default:
			add(tar.Header{Typeflag: tar.TypeReg, Name: name}, content[:random.IntN(3000)])
			files = append(files, name)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return p
}
