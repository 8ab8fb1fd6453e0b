package network

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// What the network needs of the kernel: eth0, and what answers behind it.
var (
	linkModules   = []string{"veth"}
	answerModules = []string{"nf_tables", "nfnetlink_queue", "nft_queue", "nft_tproxy", "nft_reject_inet"}
)

// diagModule lists the sockets of TCP: denied asks it for a process, package
// network/ports for what listens. Connections do without.
const diagModule = "tcp_diag"

// LoadDiag loads what lists the guest's sockets, from the kernel's modules in dir.
func LoadDiag(dir string) error {
	m, err := openModules(dir)
	if err != nil {
		return err
	}
	return m.load(diagModule)
}

// compressedFile lets the kernel unpack a module (MODULE_INIT_COMPRESSED_FILE of
// linux/module.h).
const compressedFile = 4

// modules are the kernel's in a directory, and its modules.dep.
type modules struct {
	dir  string
	deps []byte
}

func openModules(dir string) (modules, error) {
	deps, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return modules{}, fmt.Errorf("find the network's modules: %w", err)
	}
	return modules{dir, append([]byte{'\n'}, deps...)}, nil
}

// find returns the paths of a module and of all that it needs, in the order of loading;
// none if the kernel has it built in.
func (m modules) find(name string) ([]string, error) {
	for _, suffix := range []string{"", ".xz", ".zst", ".gz"} {
		i := bytes.Index(m.deps, []byte("/"+name+".ko"+suffix+":"))
		if i < 0 {
			continue
		}
		line := m.deps[bytes.LastIndexByte(m.deps[:i], '\n')+1:]
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			line = line[:end]
		}
		path, needs, _ := strings.Cut(string(line), ":")
		paths := append([]string{path}, strings.Fields(needs)...) // the nearest is first
		slices.Reverse(paths)
		return paths, nil
	}
	builtin, err := os.ReadFile(filepath.Join(m.dir, "modules.builtin"))
	if err == nil && !bytes.Contains(builtin, []byte("/"+name+".ko\n")) {
		return nil, fmt.Errorf("the kernel has no module %s", name)
	}
	return nil, nil
}

// load loads modules, each after what it needs.
func (m modules) load(names ...string) error {
	for _, name := range names {
		paths, err := m.find(name)
		if err != nil {
			return err
		}
		for _, p := range paths {
			if err := loadModule(filepath.Join(m.dir, p)); err != nil {
				return err
			}
		}
	}
	return nil
}

func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

func loadModule(path string) error {
	if _, err := os.Stat("/sys/module/" + moduleName(path)); err == nil {
		return nil // the kernel would read the whole file to see it
	}
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
