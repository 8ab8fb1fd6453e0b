// Package banger_test holds the tree to its layout: who may import whom, who
// may start programs, how long files and mains are.
package banger_test

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// imports is the import table: a package of ours, and which of ours it may
// import. A new package or arrow is written here first. Programs of different
// privilege share only leaves.
var imports = map[string]string{
	"internal/vm":                "",
	"internal/hint":              "",
	"internal/progress":          "",
	"internal/ext4":              "",
	"internal/cas":               "hint",
	"internal/paths":             "vm",
	"internal/unixsock":          "",
	"internal/process":           "vm",
	"internal/channel":           "",
	"internal/channel/control":   "",
	"internal/channel/exec":      "",
	"internal/launch":            "process vm",
	"internal/debian":            "hint progress",
	"internal/image":             "cas debian ext4 hint progress",
	"internal/kernel":            "cas debian ext4 hint progress",
	"internal/disk":              "hint vm",
	"internal/store":             "hint paths vm",
	"internal/api":               "hint unixsock vm",
	"internal/vmm":               "channel vm",
	"internal/vmm/vmmtest":       "channel channel/control channel/exec vm vmm process launch",
	"internal/vmm/vmmtest/guest": "channel channel/control channel/exec",
	"internal/vmm/qemu":          "channel hint launch process vm vmm",
	"internal/agent":             "channel channel/control channel/exec",
	"internal/session":           "api channel channel/exec unixsock",
	"internal/supervisor":        "api channel channel/control hint paths process unixsock vm vmm",
	"internal/daemon":            "api disk hint image kernel launch paths process progress store supervisor unixsock vm",
	"internal/doctor":            "debian hint paths unixsock",
	"internal/cli":               "api channel channel/exec doctor hint paths process session vm",
	"cmd/banger":                 "cli",
	"cmd/bangerd":                "daemon launch supervisor vmm/qemu",
	"cmd/banger-agent":           "agent",
}

// mayExec lists who may import os/exec, and why.
var mayExec = map[string]string{
	"internal/launch":      "the launcher starts everything that outlives its starter",
	"internal/vmm/qemu":    "finds QEMU and asks for its version",
	"internal/debian":      "runs mmdebstrap",
	"internal/disk":        "runs mke2fs",
	"internal/agent":       "starts processes in the guest",
	"internal/doctor":      "asks programs for their versions",
	"internal/api":         "starts bangerd",
	"internal/vmm/vmmtest": "builds the guest's init for the drivers' tests",
}

// maxLines is how long a file may be without a reason in longFiles.
const maxLines = 500

var longFiles = map[string]string{}

type pkg struct {
	Dir, ImportPath, Doc string
	GoFiles, CgoFiles    []string
	Imports              []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=Dir,ImportPath,Doc,GoFiles,CgoFiles,Imports", "./cmd/...", "./internal/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []pkg
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

func TestImportTable(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, "banger/")
		allowed, known := imports[name]
		if !known {
			t.Errorf("%s is not in the import table", name)
			continue
		}
		for _, i := range p.Imports {
			if i == "os/exec" && mayExec[name] == "" {
				t.Errorf("%s imports os/exec without a reason in mayExec", name)
			}
			ours, ok := strings.CutPrefix(i, "banger/internal/")
			if ok && !slices.Contains(strings.Fields(allowed), ours) {
				t.Errorf("%s imports %s: the table does not allow it", name, ours)
			}
		}
		if p.Doc == "" {
			t.Errorf("%s has no package comment", name)
		}
		if len(p.CgoFiles) > 0 {
			t.Errorf("%s uses cgo: %v", name, p.CgoFiles)
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n := bytes.Count(text, []byte("\n"))
		if n > maxLines && longFiles[path] == "" {
			t.Errorf("%s has %d lines without a reason in longFiles", path, n)
		}
		if strings.HasPrefix(path, "cmd/") && n > 40 && !strings.HasSuffix(path, "_test.go") {
			t.Errorf("%s has %d lines: a main has 40 at most", path, n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
