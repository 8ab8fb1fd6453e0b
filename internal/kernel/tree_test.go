package kernel

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
)

// program is the head of an x86-64 ELF and something behind it.
func program(size int) []byte {
	b := bytes.Repeat([]byte("vmlinux "), size/8)
	copy(b, elf.ELFMAG)
	b[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	binary.LittleEndian.PutUint16(b[18:], uint16(elf.EM_X86_64))
	return b
}

// packers pack as the kernel's build does.
var packers = map[string]func(io.Writer) io.WriteCloser{
	"lz4": func(w io.Writer) io.WriteCloser {
		z := lz4.NewWriter(w)
		z.Apply(lz4.LegacyOption(true))
		return z
	},
	"gzip": func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
	"xz":   func(w io.Writer) io.WriteCloser { z, _ := xz.NewWriter(w); return z },
	"zstd": func(w io.Writer) io.WriteCloser { z, _ := zstd.NewWriter(w); return z },
}

func packed(how string, data []byte) []byte {
	var b bytes.Buffer
	w := packers[how](&b)
	w.Write(data)
	w.Close()
	if how != "gzip" {
		binary.Write(&b, binary.LittleEndian, uint32(len(data)))
	}
	return b.Bytes()
}

// bzImage puts a payload behind a setup header of protocol 2.15.
func bzImage(payload []byte) []byte {
	const sects = 3
	b := make([]byte, (sects+1)*512+100) // 100: the payload lies in the kernel proper
	b[0x1f1] = sects
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x206:], 0x020f)
	binary.LittleEndian.PutUint32(b[0x248:], 100)
	binary.LittleEndian.PutUint32(b[0x24c:], uint32(len(payload)))
	return append(append(b, payload...), "trailer"...)
}

const release = "6.1.0-test"

// module is a stand-in for one: only the tree's maker looks at it.
func module(name string) string { return "\x7fELF module " + name }

// disk stands in for the modules' disk, as the hook writes it: holes come as zeros.
var disk = "modules" + strings.Repeat("\x00", 1<<20)

// tree is a kernel package's, as a tar; drop names files to leave out.
func tree(t testing.TB, drop ...string) []byte {
	t.Helper()
	dep := strings.Join([]string{
		"kernel/drivers/virtio/virtio_ring.ko:",
		"kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko",
		"kernel/drivers/virtio/virtio_pci_modern_dev.ko:",
		"kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_pci_modern_dev.ko kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko",
		"kernel/drivers/virtio/virtio_mmio.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko",
		"kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko",
		"kernel/drivers/char/virtio_console.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko",
		"kernel/drivers/char/hw_random/virtio-rng.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko",
		"kernel/net/core/failover.ko:",
		"kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko",
		"kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko",
		"kernel/net/vmw_vsock/vsock.ko:",
		"kernel/net/vmw_vsock/vmw_vsock_virtio_transport_common.ko: kernel/net/vmw_vsock/vsock.ko",
		"kernel/net/vmw_vsock/vmw_vsock_virtio_transport.ko: kernel/net/vmw_vsock/vmw_vsock_virtio_transport_common.ko kernel/net/vmw_vsock/vsock.ko kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko",
		"kernel/drivers/md/dm-mod.ko:",
		"kernel/drivers/md/dm-thin-pool.ko: kernel/drivers/md/persistent-data/dm-persistent-data.ko kernel/drivers/md/dm-mod.ko",
		"kernel/drivers/md/persistent-data/dm-persistent-data.ko: kernel/drivers/md/dm-mod.ko",
		"kernel/fs/overlayfs/overlay.ko:",
		"kernel/fs/unused.ko:", ""}, "\n")
	files := []struct{ name, text string }{
		{"./boot/vmlinuz-" + release, string(bzImage(packed("lz4", program(1<<20))))},
		{"./boot/config-" + release, "CONFIG_X=y"},
		{"./usr/bin/other", "not for us"},
	}
	files = append(files, struct{ name, text string }{"./" + modulesFile, disk})
	base := "./lib/modules/" + release + "/"
	for line := range strings.Lines(dep) {
		name, _, _ := strings.Cut(line, ":")
		text := module(name)
		if strings.HasSuffix(name, ".xz") {
			var b bytes.Buffer
			w, _ := xz.NewWriter(&b)
			io.WriteString(w, text)
			w.Close()
			text = b.String()
		}
		files = append(files, struct{ name, text string }{base + name, text})
	}
	files = append(files, []struct{ name, text string }{
		{base + "modules.dep", dep}, {base + "modules.dep.bin", "index"}, {base + "modules.builtin", "kernel/fs/ext4/ext4.ko\n"},
	}...)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	put := func(h tar.Header, text string) {
		for _, d := range drop {
			if strings.Contains(h.Name, d) {
				return
			}
		}
		h.Size = int64(len(text))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, text)
	}
	put(tar.Header{Typeflag: tar.TypeDir, Name: base, Mode: 0o755}, "")
	put(tar.Header{Typeflag: tar.TypeSymlink, Name: base + "build", Linkname: "/usr/src/linux"}, "")
	for _, f := range files {
		put(tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644}, f.text)
	}
	w.Close()
	return b.Bytes()
}

// cpioEntry is what an archive's reader finds.
type cpioEntry struct {
	mode  uint32
	rdev  string
	links uint32
	data  string
}

// unpackNewc reads archives behind one another as the kernel does
// (init/initramfs.c): zeroes between them are skipped.
func unpackNewc(t *testing.T, b []byte) (names []string, entries map[string]cpioEntry) {
	t.Helper()
	entries = map[string]cpioEntry{}
	at := 0
	number := func(i int) uint32 {
		var n uint32
		if _, err := fmt.Sscanf(string(b[at+6+8*i:at+14+8*i]), "%08x", &n); err != nil {
			t.Fatalf("header at %d: field %d: %v", at, i, err)
		}
		return n
	}
	for at < len(b) {
		if at%4 != 0 || at+110 > len(b) || string(b[at:at+6]) != "070701" {
			t.Fatalf("no header at byte %d of %d", at, len(b))
		}
		size, nameLen := int(number(6)), int(number(11))
		name := string(b[at+110 : at+110+nameLen-1])
		e := cpioEntry{mode: number(1), links: number(4), rdev: fmt.Sprintf("%d:%d", number(9), number(10))}
		at = (at + 110 + nameLen + 3) &^ 3
		e.data = string(b[at : at+size])
		at = (at + size + 3) &^ 3
		if name == "TRAILER!!!" {
			continue
		}
		names = append(names, name)
		entries[name] = e
	}
	return names, entries
}
