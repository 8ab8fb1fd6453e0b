package kernel

import (
	"bytes"
	"compress/gzip"
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

// formats are the payloads that scripts/extract-vmlinux knows and that Debian
// or its neighbours use, by their magic.
var formats = []struct {
	magic []byte
	open  func(io.Reader) (io.Reader, error)
}{
	{[]byte{0x02, 0x21, 0x4c, 0x18}, func(r io.Reader) (io.Reader, error) { return lz4.NewReader(r), nil }}, // legacy frame
	{[]byte{0x1f, 0x8b}, func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
	{[]byte{0xfd, '7', 'z', 'X', 'Z', 0}, func(r io.Reader) (io.Reader, error) { return xz.NewReader(r) }},
	{[]byte{0x28, 0xb5, 0x2f, 0xfd}, func(r io.Reader) (io.Reader, error) {
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxVmlinux))
	}},
	{[]byte("\x7fELF"), func(r io.Reader) (io.Reader, error) { return r, nil }},
}

// extractVmlinux takes the ELF image out of a bzImage: Firecracker boots
// nothing else, and QEMU starts sooner from it. The setup header
// (Documentation/arch/x86/boot.rst, protocol 2.08 and later) says where the
// packed payload lies.
func extractVmlinux(image []byte) ([]byte, error) {
	const (
		magicAt, versionAt, setupSectsAt = 0x202, 0x206, 0x1f1
		payloadAt, payloadLenAt          = 0x248, 0x24c
		headerLen                        = 0x250
		payloadProtocol                  = 0x0208
	)
	if bytes.HasPrefix(image, []byte("\x7fELF")) {
		return image, nil
	}
	if len(image) < headerLen || string(image[magicAt:magicAt+4]) != "HdrS" {
		return nil, errors.New("kernel is neither an ELF nor a bzImage")
	}
	if v := binary.LittleEndian.Uint16(image[versionAt:]); v < payloadProtocol {
		return nil, fmt.Errorf("kernel has boot protocol %#x, without a payload's place", v)
	}
	sects := uint64(image[setupSectsAt])
	if sects == 0 {
		sects = 4
	}
	begin := (sects+1)*512 + uint64(binary.LittleEndian.Uint32(image[payloadAt:]))
	n := uint64(binary.LittleEndian.Uint32(image[payloadLenAt:]))
	if begin+n > uint64(len(image)) {
		return nil, fmt.Errorf("kernel's payload ends at %d of %d bytes", begin+n, len(image))
	}
	payload := image[begin : begin+n]
	for _, f := range formats {
		if !bytes.HasPrefix(payload, f.magic) {
			continue
		}
		r, err := f.open(bytes.NewReader(payload))
		if err != nil {
			return nil, fmt.Errorf("unpack the kernel: %w", err)
		}
		elf, err := io.ReadAll(io.LimitReader(r, maxVmlinux+1))
		// The payload's last four bytes are its unpacked length, which the legacy
		// frame's reader takes for one more block.
		if len(elf) == 0 && err != nil {
			return nil, fmt.Errorf("unpack the kernel: %w", err)
		}
		if len(elf) > maxVmlinux {
			return nil, fmt.Errorf("kernel unpacks to more than %d bytes", maxVmlinux)
		}
		if want := binary.LittleEndian.Uint32(tail4(payload)); uint32(len(elf)) != want && err != nil {
			return nil, fmt.Errorf("unpack the kernel: %d of %d bytes: %w", len(elf), want, err)
		}
		if !bytes.HasPrefix(elf, []byte("\x7fELF")) {
			return nil, errors.New("kernel's payload is not an ELF")
		}
		return elf, nil
	}
	return nil, fmt.Errorf("kernel's payload has an unknown packing: % x", payload[:min(6, len(payload))])
}

func tail4(p []byte) []byte {
	if len(p) < 4 {
		return make([]byte, 4)
	}
	return p[len(p)-4:]
}
