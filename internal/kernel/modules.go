package kernel

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxModule bounds one unpacked module, in bytes.
const maxModule = 64 << 20

// bootModules are what a guest needs to find its disks and its channel, and to mount
// them, on every VMM. Their order comes from modules.dep; those built in are skipped.
var bootModules = []string{
	"virtio_pci", "virtio_mmio", "virtio_blk", "virtio_console", "vmw_vsock_virtio_transport",
	"dm-thin-pool", "virtio-rng", "virtio_net", "ext4", "overlay",
}

// moduleName is a module's name as modules.dep's paths give it: without
// directory and endings, hyphens as underscores (kmod treats them alike).
func moduleName(p string) string {
	base, _, _ := strings.Cut(path.Base(p), ".ko")
	return strings.ReplaceAll(base, "-", "_")
}

// loadOrder returns the paths of modules.dep that want needs, each after what
// it depends on. builtin is modules.builtin.
func loadOrder(dep, builtin []byte, want []string) ([]string, error) {
	paths := map[string]string{}
	needs := map[string][]string{}
	for line := range strings.Lines(string(dep)) {
		file, deps, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		name := moduleName(file)
		paths[name] = file
		for _, d := range strings.Fields(deps) {
			needs[name] = append(needs[name], moduleName(d))
		}
	}
	inside := map[string]bool{}
	for line := range strings.Lines(string(builtin)) {
		inside[moduleName(strings.TrimSpace(line))] = true
	}
	var out []string
	state := map[string]int{} // 1 being visited, 2 done
	var visit func(name string) error
	visit = func(name string) error {
		switch {
		case state[name] == 2 || inside[name]:
			return nil
		case state[name] == 1:
			return fmt.Errorf("module %q depends on itself", name)
		case paths[name] == "":
			return fmt.Errorf("module %q is not in the kernel's package", name)
		}
		state[name] = 1
		// modules.dep lists the nearest dependency first.
		for i := len(needs[name]) - 1; i >= 0; i-- {
			if err := visit(needs[name][i]); err != nil {
				return err
			}
		}
		state[name] = 2
		out = append(out, paths[name])
		return nil
	}
	for _, w := range want {
		if err := visit(strings.ReplaceAll(w, "-", "_")); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// unpackModule returns a module's ELF: the kernel's own loader need not know
// the packing.
func unpackModule(name string, b []byte) ([]byte, error) {
	var r io.Reader = bytes.NewReader(b)
	var err error
	switch path.Ext(name) {
	case ".ko":
		return b, nil
	case ".xz":
		r, err = xz.NewReader(r)
	case ".zst":
		r, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxModule))
	default:
		return nil, fmt.Errorf("module %q has an unknown packing", name)
	}
	if err != nil {
		return nil, fmt.Errorf("unpack module %q: %w", name, err)
	}
	out, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	if err != nil {
		return nil, fmt.Errorf("unpack module %q: %w", name, err)
	}
	if len(out) > maxModule {
		return nil, fmt.Errorf("module %q unpacks to more than %d bytes", name, maxModule)
	}
	return out, nil
}
