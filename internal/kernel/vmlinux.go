package kernel

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
)

// Limits, in bytes.
const (
	maxImage   = 128 << 20 // a packed kernel
	maxVmlinux = 512 << 20 // an unpacked one
)

// packing is a form of a bzImage's payload.
type packing struct {
	name  string
	magic []byte
	// sized: the kernel's build appends the unpacked length, 4 bytes (size_append
	// in scripts/Makefile.lib). gzip has its own, plain has none.
	sized bool
	open  func(io.Reader) (io.Reader, error)
}

var packings = []packing{
	// lz4's legacy frame, which the kernel's own decoder reads.
	{"lz4", []byte{0x02, 0x21, 0x4c, 0x18}, true, func(r io.Reader) (io.Reader, error) { return lz4.NewReader(r), nil }},
	{"gzip", []byte{0x1f, 0x8b}, false, func(r io.Reader) (io.Reader, error) {
		z, err := gzip.NewReader(r)
		if err == nil {
			z.Multistream(false)
		}
		return z, err
	}},
	// Kernels packed with xz use its x86 filter, which the library refuses by
	// name; Debian's don't.
	{"xz", []byte{0xfd, '7', 'z', 'X', 'Z', 0}, true, func(r io.Reader) (io.Reader, error) { return xz.NewReader(r) }},
	{"zstd", []byte{0x28, 0xb5, 0x2f, 0xfd}, true, func(r io.Reader) (io.Reader, error) {
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxVmlinux))
	}},
	{"plain", []byte(elf.ELFMAG), false, func(r io.Reader) (io.Reader, error) { return r, nil }},
}

// extractVmlinux writes the ELF image inside a bzImage to w: Firecracker boots
// nothing else, and QEMU starts sooner from it. The setup header
// (Documentation/arch/x86/boot.rst, protocol 2.08 and later) says where the
// packed payload lies.
func extractVmlinux(image []byte, w io.Writer) error {
	payload, err := payloadOf(image)
	if err != nil {
		return err
	}
	for _, p := range packings {
		if bytes.HasPrefix(payload, p.magic) {
			if err := p.unpack(payload, w, maxVmlinux); err != nil {
				return fmt.Errorf("unpack the kernel (%s): %w", p.name, err)
			}
			return nil
		}
	}
	return fmt.Errorf("kernel's payload has an unknown packing: % x", payload[:min(6, len(payload))])
}

func payloadOf(image []byte) ([]byte, error) {
	const (
		setupSectsAt, magicAt, versionAt = 0x1f1, 0x202, 0x206
		payloadAt, payloadLenAt          = 0x248, 0x24c
		headerLen                        = 0x250
		payloadProtocol                  = 0x0208
		sector                           = 512
	)
	if bytes.HasPrefix(image, []byte(elf.ELFMAG)) {
		return image, nil
	}
	if len(image) < headerLen || string(image[magicAt:magicAt+4]) != "HdrS" {
		return nil, errors.New("kernel is neither an ELF nor a bzImage")
	}
	if v := binary.LittleEndian.Uint16(image[versionAt:]); v < payloadProtocol {
		return nil, fmt.Errorf("kernel has boot protocol %#x, which does not say where its payload is", v)
	}
	sects := uint64(image[setupSectsAt])
	if sects == 0 {
		sects = 4 // for history's sake, says boot.rst
	}
	begin := (sects+1)*sector + uint64(binary.LittleEndian.Uint32(image[payloadAt:]))
	n := uint64(binary.LittleEndian.Uint32(image[payloadLenAt:]))
	if begin+n > uint64(len(image)) {
		return nil, fmt.Errorf("kernel's payload ends at byte %d of %d", begin+n, len(image))
	}
	return image[begin : begin+n], nil
}

func (p packing) unpack(payload []byte, w io.Writer, most int64) error {
	want := int64(-1)
	if p.sized && len(payload) >= 4 {
		end := len(payload) - 4
		want = int64(binary.LittleEndian.Uint32(payload[end:]))
		payload = payload[:end]
	}
	if want > most {
		return fmt.Errorf("it says that it has %d bytes: the most is %d", want, most)
	}
	r, err := p.open(bytes.NewReader(payload))
	if err != nil {
		return err
	}
	if c, ok := r.(*zstd.Decoder); ok {
		defer c.Close()
	}
	in := bufio.NewReader(io.LimitReader(r, most+1))
	if err := checkELF(in); err != nil {
		return err
	}
	n, err := io.Copy(w, in)
	switch {
	case err != nil:
		return err
	case n > most:
		return fmt.Errorf("it has more than %d bytes", most)
	case want >= 0 && n != want:
		return fmt.Errorf("it has %d bytes and should have %d", n, want)
	}
	return nil
}

// checkELF looks at the head of r without taking it: an x86-64 program.
func checkELF(r *bufio.Reader) error {
	const headerLen, machineAt = 64, 18
	head, err := r.Peek(headerLen)
	if err != nil {
		return err
	}
	if string(head[:4]) != elf.ELFMAG || elf.Class(head[elf.EI_CLASS]) != elf.ELFCLASS64 ||
		elf.Machine(binary.LittleEndian.Uint16(head[machineAt:])) != elf.EM_X86_64 {
		return errors.New("it is not an ELF for x86-64")
	}
	return nil
}
