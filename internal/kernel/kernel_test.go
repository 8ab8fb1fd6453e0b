package kernel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"banger/internal/cas"
	"banger/internal/hint"
	"banger/internal/progress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stored opens a store that holds the kernel of tree.
func stored(t *testing.T) (*Store, Kernel) {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.cas.Ensure(context.Background(), cas.Order{Ref: Default, Make: func(ctx context.Context, tmp string) (any, error) {
		release, err := build(ctx, bytes.NewReader(tree(t)), tmp)
		return meta{Format: format, Release: release, Source: "test"}, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	k, err := s.Get(Default)
	if err != nil {
		t.Fatal(err)
	}
	return s, k
}

func TestKernelFromItsPackage(t *testing.T) {
	s, k := stored(t)
	if k.Release != release || k.Ref != Default || k.SizeBytes < 1<<20 {
		t.Errorf("Get = %+v", k)
	}
	if got, err := s.ByDigest(k.Digest); err != nil || got.Vmlinux != k.Vmlinux {
		t.Errorf("ByDigest(%q) = %+v, %v", k.Digest, got, err)
	}
	// No step runs for what is here.
	if got, err := s.Ensure(context.Background(), Default, func(p progress.Step) {
		if !p.Finished {
			t.Errorf("Ensure took the step %+v", p)
		}
	}); err != nil || got != k {
		t.Errorf("Ensure = %+v, %v; want %+v", got, err, k)
	}
	if got, err := os.ReadFile(k.Vmlinux); err != nil || !bytes.Equal(got, program(1<<20)) {
		t.Errorf("vmlinux has %d bytes, %v; want the program", len(got), err)
	}
	if got, err := os.ReadFile(k.ModulesDisk); err != nil || string(got) != disk {
		t.Errorf("the modules' disk has %d bytes, %v; want the tree's", len(got), err)
	}
	if _, err := Open(filepath.Join(k.Vmlinux, "file-as-parent")); err == nil {
		t.Error("Open below a file: no error")
	}
}

func TestUnknownKernels(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"nosuch", "", "../x", "debian-12-cloud\n"} {
		for what, f := range map[string]func() (Kernel, error){
			"Get":    func() (Kernel, error) { return s.Get(ref) },
			"Ensure": func() (Kernel, error) { return s.Ensure(context.Background(), ref, progress.Discard) },
			"Pull":   func() (Kernel, error) { return s.Pull(context.Background(), ref, progress.Discard) },
		} {
			if k, err := f(); !errors.Is(err, ErrNotFound) || what != "Get" && hint.Of(err) == "" {
				t.Errorf("%s(%q) = %+v, %v (hint %q); want ErrNotFound with a hint", what, ref, k, err, hint.Of(err))
			}
		}
	}
	if _, err := s.Get(Default); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of a kernel that is not here: %v", err)
	}
	if list, err := s.List(); err != nil || len(list) != 0 {
		t.Errorf("List = %+v, %v", list, err)
	}
}

func TestBadPackages(t *testing.T) {
	for what, c := range map[string]struct {
		stream []byte
		want   string
	}{
		"no kernel":       {tree(t, "vmlinuz"), "no kernel"},
		"no modules":      {tree(t, "lib/modules/"), "no modules"},
		"no disk":         {tree(t, modulesFile), "hook has not run"},
		"no modules.dep":  {tree(t, "modules.dep"), "depmod"},
		"no index":        {tree(t, "modules.dep.bin"), "depmod"},
		"missing module":  {tree(t, "dm-mod.ko"), "dm-mod"},
		"cut in the tar":  {tree(t)[:20_000], "unexpected EOF"},
		"not a tar":       {[]byte(strings.Repeat("no tar", 1000)), "tar"},
		"nothing":         {nil, "no kernel"},
		"missing builtin": {tree(t, "modules.builtin"), "ext4"},
	} {
		if release, err := build(context.Background(), bytes.NewReader(c.stream), t.TempDir()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: build = %q, %v; want an error with %q", what, release, err, c.want)
		}
	}
}

func TestInitrd(t *testing.T) {
	s, k := stored(t)
	agent := filepath.Join(t.TempDir(), "agent")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(agent, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	initrd := func() string {
		t.Helper()
		name, err := s.Initrd(context.Background(), k, agent)
		if err != nil {
			t.Fatalf("Initrd: %v", err)
		}
		return name
	}
	write("the agent")
	first := initrd()
	b, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	names, entries := unpackNewc(t, b)
	order := strings.Fields(entries["modules/order"].data)
	want := []string{"00-virtio_ring.ko", "01-virtio.ko", "02-virtio_pci_modern_dev.ko", "03-virtio_pci.ko", "04-virtio_mmio.ko", "05-virtio_blk.ko",
		"06-virtio_console.ko", "07-vsock.ko", "08-vmw_vsock_virtio_transport_common.ko", "09-vmw_vsock_virtio_transport.ko", "10-dm_mod.ko",
		"11-dm_persistent_data.ko", "12-dm_thin_pool.ko", "13-virtio_rng.ko", "14-failover.ko", "15-net_failover.ko", "16-virtio_net.ko",
		"17-overlay.ko"}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("modules/order (-want +got):\n%s", diff)
	}
	for _, ko := range order {
		if e := entries["modules/"+ko]; !strings.HasPrefix(e.data, "\x7fELF module ") || e.mode != 0o100644 {
			t.Errorf("modules/%s: mode %o, %.20q; want an unpacked module", ko, e.mode, e.data)
		}
	}
	for name, want := range map[string]cpioEntry{
		"init": {0o100755, "0:0", 1, "the agent"}, "dev/console": {0o020600, "5:1", 1, ""},
		"dev": {0o040755, "0:0", 1, ""}, "proc": {0o040755, "0:0", 1, ""}, "sys": {0o040755, "0:0", 1, ""},
		"run": {0o040755, "0:0", 1, ""}, "newroot": {0o040755, "0:0", 1, ""}, "modules": {0o040755, "0:0", 1, ""},
	} {
		if got := entries[name]; got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	if slices.Index(names, "dev") > slices.Index(names, "dev/console") {
		t.Errorf("dev/console comes before its directory: %v", names)
	}

	fi, _ := os.Stat(first)
	if again := initrd(); again != first {
		t.Errorf("Initrd again = %q, want %q", again, first)
	}
	if fi2, _ := os.Stat(first); !os.SameFile(fi, fi2) {
		t.Error("Initrd packed the same again")
	}
	// Another agent; what nobody asked for in a week goes, other things stay.
	old := time.Now().Add(-8 * 24 * time.Hour)
	os.Chtimes(first, old, old)
	cut := filepath.Join(k.Dir, ".initrd-cut")
	os.WriteFile(cut, nil, 0o600)
	os.Chtimes(cut, old, old)
	os.Chtimes(k.Vmlinux, old, old)
	write("another agent")
	second := initrd()
	if second == first {
		t.Errorf("two agents share %q", first)
	}
	for _, gone := range []string{first, cut} {
		if _, err := os.Stat(gone); !os.IsNotExist(err) {
			t.Errorf("%s is still there (%v)", gone, err)
		}
	}
	if _, err := s.Get(Default); err != nil {
		t.Errorf("Get after pruning: %v", err)
	}
	// One that is asked for stays young.
	os.Chtimes(second, old, old)
	initrd()
	prune(k.Dir, time.Now())
	if _, err := os.Stat(second); err != nil {
		t.Errorf("one that was asked for is gone: %v", err)
	}
	if _, err := s.Initrd(context.Background(), k, filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Initrd without an agent: %v", err)
	}
}

func TestExtractVmlinux(t *testing.T) {
	want := program(9 << 20) // more than one block of lz4's legacy frame
	for how := range packers {
		var got bytes.Buffer
		if err := extractVmlinux(bzImage(packed(how, want)), &got); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: extractVmlinux gave %d bytes, %v; want %d", how, got.Len(), err, len(want))
		}
	}
	for what, image := range map[string][]byte{"plain in a bzImage": bzImage(want), "ELF": want} {
		var got bytes.Buffer
		if err := extractVmlinux(image, &got); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: extractVmlinux gave %d bytes, %v", what, got.Len(), err)
		}
	}
	changed := func(at int, b ...byte) []byte {
		image := bzImage(packed("lz4", program(4096)))
		copy(image[at:], b)
		return image
	}
	arm := program(4096)
	binary.LittleEndian.PutUint16(arm[18:], 183)
	short := packed("lz4", program(4096))
	binary.LittleEndian.PutUint32(short[len(short)-4:], 4097)
	huge := packed("lz4", program(4096))
	binary.LittleEndian.PutUint32(huge[len(huge)-4:], 1<<31)
	cut := packed("zstd", program(1<<20))
	for what, c := range map[string]struct {
		image []byte
		want  string
	}{
		"empty":            {nil, "neither"},
		"text":             {bytes.Repeat([]byte("x"), 4096), "neither"},
		"old protocol":     {changed(0x206, 0x07, 0x02), "protocol"},
		"payload outside":  {changed(0x248, 0xff, 0xff, 0xff, 0xff), "ends at"},
		"length outside":   {changed(0x24c, 0xff, 0xff, 0xff, 0xff), "ends at"},
		"no payload":       {changed(0x24c, 0, 0, 0, 0), "unknown packing"},
		"unknown packing":  {bzImage([]byte("BZh91AY")), "unknown packing"},
		"no ELF inside":    {bzImage(packed("zstd", bytes.Repeat([]byte("text"), 100))), "not an ELF"},
		"another machine":  {bzImage(packed("gzip", arm)), "x86-64"},
		"short":            {bzImage(short), "should have"},
		"huge":             {bzImage(huge), "most"},
		"damaged":          {bzImage(append(cut[:len(cut)/2:len(cut)/2], cut[len(cut)-4:]...)), "unpack"},
		"nothing unpacked": {bzImage(packed("xz", nil)), "unpack"},
	} {
		if err := extractVmlinux(c.image, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: extractVmlinux: %v; want an error with %q", what, err, c.want)
		}
	}
	// A bomb is cut at the limit.
	bomb := packing{name: "gzip", open: packings[1].open}
	var got bytes.Buffer
	if err := bomb.unpack(packed("gzip", program(1<<20)), &got, 1<<16); err == nil || got.Len() > 1<<16+1 {
		t.Errorf("unpack of 1 MiB with a limit of 64 KiB: %v, %d bytes", err, got.Len())
	}
}

func TestLoadOrder(t *testing.T) {
	for what, c := range map[string]struct {
		dep, builtin string
		want         []string
		out          string // or an error's part
	}{
		"deepest first":  {"a.ko: b.ko c.ko\nb.ko: c.ko\nc.ko:\n", "", []string{"a"}, "c.ko b.ko a.ko"},
		"each once":      {"a.ko: c.ko\nb.ko: c.ko\nc.ko:\n", "", []string{"a", "b", "a"}, "c.ko a.ko b.ko"},
		"built in":       {"a.ko: b.ko\n", "kernel/b.ko\n", []string{"a", "b"}, "a.ko"},
		"hyphens":        {"x/virtio-rng.ko.xz:\n", "", []string{"virtio_rng", "virtio-rng"}, "x/virtio-rng.ko.xz"},
		"nothing wanted": {"a.ko:\n", "", nil, ""},
		"missing":        {"a.ko: b.ko\n", "", []string{"a"}, `"b" is not in`},
		"unknown":        {"", "", []string{"a"}, `"a" is not in`},
		"a loop":         {"a.ko: b.ko\nb.ko: a.ko\n", "", []string{"a"}, "depends on itself"},
		"odd lines":      {"\n:\nrubbish\na.ko:\n  \n", "\n\n", []string{"a"}, "a.ko"},
	} {
		got, err := loadOrder([]byte(c.dep), []byte(c.builtin), c.want)
		if text := strings.Join(got, " "); (err == nil && text != c.out) || (err != nil && (c.out == "" || !strings.Contains(err.Error(), c.out))) {
			t.Errorf("%s: loadOrder = %q, %v; want %q", what, text, err, c.out)
		}
	}
}

func FuzzExtractVmlinux(f *testing.F) {
	for how := range packers {
		f.Add(bzImage(packed(how, program(4096))))
	}
	f.Add(program(4096))
	f.Fuzz(func(t *testing.T, image []byte) {
		if len(image) > 1<<20 {
			return
		}
		payload, err := payloadOf(image)
		if err != nil {
			return
		}
		for _, p := range packings {
			var out bytes.Buffer
			if bytes.HasPrefix(payload, p.magic) {
				if err := p.unpack(payload, &out, 1<<20); err == nil && out.Len() > 1<<20 {
					t.Errorf("%s: unpacked %d bytes, the limit is %d", p.name, out.Len(), 1<<20)
				}
			}
		}
	})
}

func FuzzLoadOrder(f *testing.F) {
	f.Add([]byte("a.ko: b.ko c.ko\nb.ko: c.ko\nc.ko:\n"), []byte("kernel/d.ko\n"), "a")
	f.Fuzz(func(t *testing.T, dep, builtin []byte, want string) {
		got, err := loadOrder(dep, builtin, []string{want})
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, m := range got {
			if seen[moduleName(m)] {
				t.Errorf("loadOrder(%q, %q, %q) = %q, with %q twice", dep, builtin, want, got, m)
			}
			seen[moduleName(m)] = true
		}
	})
}

// What a packer finds there when it is done stays: a VMM may be about to open it.
func TestTwoPackers(t *testing.T) {
	dir := t.TempDir()
	boot, agent, name := filepath.Join(dir, "boot"), filepath.Join(dir, "agent"), filepath.Join(dir, "initrd-x.cpio")
	for _, f := range []string{boot, agent} {
		if err := os.WriteFile(f, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte("x")))
	var first os.FileInfo
	for n := range 2 {
		if err := pack(name, boot, agent, sum); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			first = fi
		} else if !os.SameFile(first, fi) {
			t.Error("the second packer replaced the first one's")
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".initrd-*")); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}
