// Package banger_test holds the tree to its layout: who may import whom, who
// may start programs, how long files and mains are.
package banger_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// imports is the import table: each package, and which of ours below internal
// it may import. It is a security boundary: programs of different privilege
// share only leaves. A new package or arrow is written here first; one that is
// no longer used is taken out.
var imports = map[string]string{
	// Nouns that import nothing of ours, and little else.
	"internal/vm":              "",
	"internal/hint":            "",
	"internal/progress":        "",
	"internal/unixsock":        "hint",
	"internal/durable":         "",
	"internal/lease":           "",
	"internal/fault":           "",
	"internal/shtest":          "",
	"internal/watch":           "",
	"internal/ballast":         "durable",
	"internal/landlock":        "",
	"internal/kvm":             "",
	"internal/channel":         "",
	"internal/channel/exec":    "",
	"internal/channel/control": "",
	"internal/channel/flow":    "",
	"internal/channel/netflow": "",
	"internal/pager":           "",
	"internal/git":             "",
	"internal/lfs":             "git",
	"internal/workspace/wire":  "",
	"internal/paths":           "vm",
	"internal/config":          "vm",
	"internal/sshkey":          "durable hint",
	"internal/sshconfig":       "durable hint",
	"internal/process":         "vm",
	"internal/launch":          "landlock process vm",

	// What a guest's connections are judged and made by.
	"internal/network/dial":     "hint",
	"internal/network/mirrors":  "agent/hostconfig",
	"internal/network/names":    "",
	"internal/network/policy":   "hint",
	"internal/network/ports":    "",
	"internal/network/resolver": "",
	"internal/network/egress":   "channel/flow channel/netflow network/dial network/policy network/resolver",

	// What a guest boots from.
	"internal/cas":      "durable",
	"internal/debian":   "hint progress",
	"internal/image":    "agent/hostconfig cas debian hint progress",
	"internal/kernel":   "cas debian hint progress unpack",
	"internal/rootdisk": "",
	"internal/untar":    "unpack",
	"internal/disk":     "durable hint paths process rootdisk vm",

	// What runs it.
	"internal/builder":           "channel channel/control debian hint session unpack untar vm vmm vmm/program",
	"internal/vmm":               "channel hint landlock launch rootdisk vm",
	"internal/vmm/program":       "",
	"internal/vmm/qemu":          "channel hint kvm launch process vm vmm vmm/program",
	"internal/vmm/firecracker":   "channel hint kvm launch process unixsock vm vmm vmm/program",
	"internal/vmm/standin":       "agent/command agent/program channel channel/control channel/flow channel/netflow launch lfs unixsock vm vmm vmm/program",
	"internal/vmm/vmmtest":       "channel channel/control channel/exec launch process vm vmm",
	"internal/vmm/vmmtest/guest": "channel",
	"internal/supervisor":        "channel channel/control channel/flow channel/netflow durable fault hint launch network/dial network/egress network/policy network/ports network/resolver paths process unixsock vm vmm",
	"internal/agent":             "agent/command agent/hostconfig agent/network agent/program agent/root agent/ssh channel channel/control lfs network/ports",
	"internal/agent/devmapper":   "",
	"internal/agent/root":        "agent/devmapper agent/thin rootdisk",
	"internal/agent/thin":        "",
	"internal/agent/command":     "channel/exec",
	"internal/agent/network":     "channel/flow channel/netflow network/ports",
	"internal/agent/program":     "agent/sftp agent/workspace filecopy lfs untar workspace/wire",
	"internal/agent/sftp":        "",
	"internal/agent/ssh":         "agent/command agent/sftp channel/exec",
	"internal/agent/workspace":   "git lease lfs unpack workspace/wire",
	"internal/agent/hostconfig":  "",

	// What goes in and comes out.
	"internal/unpack":    "",
	"internal/filecopy":  "lease unpack",
	"internal/workspace": "disk durable git hint lease lfs unpack workspace/wire",

	// What keeps it and talks to people.
	"internal/store":     "durable hint paths vm",
	"internal/api":       "hint unixsock vm",
	"internal/instance":  "agent/hostconfig ballast builder channel channel/control channel/exec config disk durable fault hint image kernel network/mirrors network/policy paths process progress session sshkey store supervisor vm vmm watch workspace workspace/wire",
	"internal/daemon":    "api cas config disk hint image instance kernel network/names network/policy network/ports paths process progress store supervisor unixsock vm vmm",
	"internal/autostart": "api hint paths",
	"internal/session":   "channel channel/exec hint unixsock",
	"internal/doctor":    "api debian hint kvm landlock network/names paths unixsock vmm",
	"internal/cli":       "api autostart channel channel/exec config doctor durable filecopy hint network/mirrors pager paths process session sshconfig vm workspace workspace/wire",

	// Where parts meet.
	"cmd/banger":       "cli",
	"cmd/bangerd":      "daemon kvm launch supervisor vmm vmm/firecracker vmm/qemu",
	"cmd/banger-agent": "agent",

	"test/day":     "",
	"test/harness": "",
	"test/summary": "",
	"test/torture": "",
	"test/bench":   "channel channel/control channel/exec session",

	"test/smoke":          "",
	"test/smoke/testhost": "builder debian image kernel progress vmm/qemu",
	"test/smoke/shell":    "",
	"test/vm/speaker":     "channel channel/control channel/flow channel/netflow",
}

// tagged are the packages that are linked into a program with a build tag only,
// and where. Nobody imports them without it, and nobody else with it.
var tagged = map[string]struct{ tag, importer string }{
	"internal/vmm/standin": {"standin", "cmd/bangerd"},
}

// mayExec are the packages that may import os/exec, and why.
var mayExec = map[string]string{
	"internal/launch":      "the launcher starts everything that outlives its starter",
	"internal/vmm/program": "finds VMMs and asks for their versions",
	"internal/kvm":         "runs the probe's guest in a process that may hang",
	"internal/debian":      "runs mmdebstrap",
	"internal/builder":     "runs mke2fs",
	"internal/git":         "runs git, on the host and in the guest",
	"internal/pager":       "runs the pager of the user",
	"internal/agent":       "starts processes in the guest",
	"internal/doctor":      "asks programs for their versions",
	"internal/autostart":   "starts bangerd",
	"internal/shtest":      "runs the scripts of tests",
	"internal/vmm/vmmtest": "builds the guest of the drivers' tests",
	"test/day":             "builds an image by the programs under test",
	"test/harness":         "starts the programs under test",
	"test/summary":         "runs go test",
	"test/torture":         "runs go test",
	"test/bench":           "starts the programs that it measures",
	"test/smoke":           "builds the programs, reads coverage",
	"test/smoke/testhost":  "runs the test host's QEMU, ssh, and what makes its disk",
}

const (
	maxLines     = 500 // of a file, without a reason in longFiles
	maxMainLines = 40  // of a main: parts are joined there, nothing is done
)

// longFiles are the files that are longer, and why.
var longFiles = map[string]string{}

// pkg is what go list says of a package.
type pkg struct {
	ImportPath, Doc   string
	GoFiles, CgoFiles []string
	Imports           []string
}

func (p pkg) name() string { return strings.TrimPrefix(p.ImportPath, "banger/") }

// packages are all of ours, with the imports that they have under tags.
func packages(t *testing.T, tags ...string) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-tags="+strings.Join(tags, ","), "-json=ImportPath,Doc,GoFiles,CgoFiles,Imports", "./cmd/...", "./internal/...", "./test/...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var list []pkg
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return list
		} else if err != nil {
			t.Fatalf("read go list's output: %v", err)
		}
		if len(p.GoFiles)+len(p.CgoFiles) > 0 { // else it has tests alone
			list = append(list, p)
		}
	}
}

func TestImportTable(t *testing.T) {
	used := map[string]bool{}
	for _, p := range packages(t) {
		name := p.name()
		used[name] = true
		allowed, known := imports[name]
		if !known {
			t.Errorf("%s is not in the import table", name)
			continue
		}
		for _, i := range p.Imports {
			ours, ok := strings.CutPrefix(i, "banger/internal/")
			if ok && !slices.Contains(strings.Fields(allowed), ours) {
				t.Errorf("%s imports %s, which the table does not allow", name, ours)
			}
			tests := strings.HasPrefix(i, "banger/test/") && !strings.HasPrefix(name, "test/")
			if strings.HasPrefix(i, "banger/cmd/") || tests {
				t.Errorf("%s imports %s: nobody imports programs, and nothing but tests what tests share", name, i)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(imports)) {
		if !used[name] {
			t.Errorf("the import table has %s, which is not there", name)
		}
	}
}

func TestTaggedImports(t *testing.T) {
	for name, want := range tagged {
		for _, p := range packages(t) {
			if slices.Contains(p.Imports, "banger/"+name) {
				t.Errorf("%s imports %s without the tag %s", p.name(), name, want.tag)
			}
		}
		for _, p := range packages(t, want.tag) {
			if does := slices.Contains(p.Imports, "banger/"+name); does != (p.name() == want.importer) {
				t.Errorf("with the tag %s it is %v that %s imports %s, want only %s", want.tag, does, p.name(), name, want.importer)
			}
		}
	}
}

func TestWhoStartsPrograms(t *testing.T) {
	for _, p := range packages(t) {
		_, may := mayExec[p.name()]
		if does := slices.Contains(p.Imports, "os/exec"); does && !may {
			t.Errorf("%s imports os/exec without a reason in mayExec", p.name())
		} else if may && !does {
			t.Errorf("mayExec has %s, which does not import os/exec", p.name())
		}
	}
}

func TestPackages(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.name())
		}
		if len(p.CgoFiles) > 0 || slices.Contains(p.Imports, "C") {
			t.Errorf("%s uses cgo in %v", p.name(), p.CgoFiles)
		}
		for _, word := range []string{"util", "utils", "common", "helper", "helpers", "types", "manager", "misc"} {
			if filepath.Base(p.name()) == word {
				t.Errorf("%s: a package is a noun of the domain", p.name())
			}
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	seen := map[string]bool{}
	for _, root := range []string{"cmd", "internal", "test"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			n := bytes.Count(text, []byte("\n"))
			if n > maxLines {
				seen[path] = true
				if longFiles[path] == "" {
					t.Errorf("%s has %d lines without a reason in longFiles", path, n)
				}
			}
			if strings.HasPrefix(path, "cmd/") && !strings.HasSuffix(path, "_test.go") && n > maxMainLines {
				t.Errorf("%s has %d lines, a main has at most %d", path, n, maxMainLines)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for path := range longFiles {
		if !seen[path] {
			t.Errorf("longFiles has %s, which is not that long", path)
		}
	}
}

// TestPromises holds docs/promises.md to the scripts: what it points at is
// there, and each script is in it.
func TestPromises(t *testing.T) {
	text, err := os.ReadFile("docs/promises.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, tier := range []string{"script", "vm"} {
		scripts, err := filepath.Glob(filepath.Join("test", tier, "*.txtar"))
		if err != nil || len(scripts) == 0 {
			t.Fatalf("find the scripts of %s: %v, %v", tier, scripts, err)
		}
		for _, s := range scripts {
			id := strings.TrimSuffix(filepath.Base(s), ".txtar")
			if !bytes.Contains(text, []byte("["+id+"](../"+s+")")) {
				t.Errorf("docs/promises.md does not name %s", s)
			}
			text = bytes.ReplaceAll(text, []byte("["+id+"](../"+s+")"), nil)
		}
	}
	// Scenarios of the test host are not named by a promise; those that show one
	// are pointed at.
	scenarios, err := filepath.Glob("test/smoke/scenario/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := filepath.Glob("test/[lv]*/*_test.go") // that no script can be
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range append(scenarios, tests...) {
		text = bytes.ReplaceAll(text, []byte("](../"+s+")"), nil)
	}
	if _, after, ok := bytes.Cut(text, []byte("](../test/")); ok {
		t.Errorf("docs/promises.md points at test/%.30q, which is not there", after)
	}
}
