package network

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// wantedModules are what the network needs of the kernel. Those built in are not in
// modules.dep. Package network/ports asks tcp_diag which ports listen.
var wantedModules = []string{"veth", "nf_tables", "nfnetlink_queue", "nft_queue", "nft_tproxy", "nft_reject_inet", "tcp_diag"}

// optionalModule is not needed for connections.
const optionalModule = "tcp_diag"

// compressedFile lets the kernel unpack a module (MODULE_INIT_COMPRESSED_FILE of
// linux/module.h).
const compressedFile = 4

// loadModules loads wantedModules from dir, each after what modules.dep says that it
// needs. If the kernel has one of them neither as a module nor built in, none is loaded.
func loadModules(dir string) error {
	f, err := os.Open(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return fmt.Errorf("find the network's modules: %w", err)
	}
	defer f.Close()
	type module struct{ path, needs string }
	known := map[string]module{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if path, needs, ok := strings.Cut(lines.Text(), ":"); ok {
			known[moduleName(path)] = module{path, needs}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read modules.dep: %w", err)
	}
	if builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin")); err == nil {
		has := map[string]bool{optionalModule: true}
		for line := range strings.Lines(string(builtin)) {
			has[moduleName(strings.TrimSpace(line))] = true
		}
		for _, name := range wantedModules {
			if _, ok := known[name]; !ok && !has[name] {
				return fmt.Errorf("the kernel has no module %s", name)
			}
		}
	}
	loaded := map[string]bool{}
	var load func(name string) error
	load = func(name string) error {
		m, ok := known[name]
		if !ok || loaded[name] {
			return nil // built in, or missed by whoever needs it
		}
		loaded[name] = true
		needs := strings.Fields(m.needs)
		for i := range needs { // the nearest is first
			if err := load(moduleName(needs[len(needs)-1-i])); err != nil {
				return err
			}
		}
		return loadModule(filepath.Join(dir, m.path))
	}
	for _, name := range wantedModules {
		if err := load(name); err != nil {
			return err
		}
	}
	return nil
}

func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if !strings.HasSuffix(path, ".ko") {
		flags = compressedFile
	}
	if err := unix.FinitModule(int(f.Fd()), "", flags); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load the module %s: %w", moduleName(path), err)
	}
	return nil
}
