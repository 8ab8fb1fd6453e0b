package workspace

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"banger/internal/git"
	"banger/internal/workspace/wire"
)

// Without git, a tree is as it was if no file of it was written, under whatever name it
// lies.
func TestSameStats(t *testing.T) {
	home, tree, base := newRepository(t)
	sh(t, tree, "mkdir d; echo 1 >d/g; ln -s f l; echo '*.o' >.gitignore; git init -q in; echo 1 >in/i")
	q := wire.Question{Path: []byte("repo"), Base: base, Hash: "sha1"}
	for script, want := range map[string]error{
		":":                                nil,
		"git commit -q --allow-empty -m x": nil,
		"mkdir e":                          nil, // git knows no directories
		"echo 2 >f":                        errEdited,
		"touch f":                          errEdited,
		"chmod +x f":                       errEdited,
		"rm d/g":                           errEdited,
		"mv d e":                           errEdited,
		"ln -sf d l":                       errEdited,
		"echo o >x.o":                      errEdited,
		"rm -rf in/.git":                   errEdited,
		"cp -a f n; rm f; mv n f":          errEdited,
	} {
		var out bytes.Buffer
		if err := ReportFiles(t.Context(), q, home, &out); err != nil {
			t.Fatal(err)
		}
		var r wire.Report
		if err := wire.ReadJSON(bufio.NewReader(&out), &r); err != nil || r.Stats == "" {
			t.Fatalf("the report is %+v, %v", r, err)
		}
		moved := filepath.Join(t.TempDir(), "moved")
		sh(t, tree, script)
		if err := os.Rename(tree, moved); err != nil {
			t.Fatal(err)
		}
		k := replaced{Known: wire.Known{Question: q, Stats: r.Stats}}
		if err := k.sameStats(t.Context(), moved); !errors.Is(err, want) {
			t.Errorf("after %s: %v, want %v", script, err, want)
		}
		k.Stats = ""
		if err := k.sameStats(t.Context(), moved); !errors.Is(err, git.ErrMissing) {
			t.Errorf("of a tree that only git looked at: %v", err)
		}
		if err := os.Rename(moved, tree); err != nil {
			t.Fatal(err)
		}
		sh(t, tree, "rm -rf d e f l in x.o; mkdir d; echo 1 >d/g; echo 1 >f; ln -s f l; git init -q in; echo 1 >in/i")
	}
}

// A copy whose place came and went: nothing of it is left, and nothing replaced.
func TestExchange(t *testing.T) {
	for name, c := range map[string]struct {
		script        string
		force, placed bool
	}{
		"gone":              {":", false, false},
		"gone, with force":  {":", true, true},
		"a file":            {"echo mine >to", false, false},
		"a file, forced":    {"echo mine >to", true, true},
		"no repository":     {"mkdir to; echo mine >to/f", false, false},
		"an unreadable one": {"mkdir -p to/.git; echo mine >to/f", false, false},
	} {
		dir := t.TempDir()
		sh(t, dir, c.script+"; mkdir temp; echo new >temp/new")
		e := exchange{dest: filepath.Join(dir, "to"), force: c.force, known: []replaced{{at: "."}}}
		err := e.run(t.Context(), filepath.Join(dir, "temp"))
		if placed := err == nil; placed != c.placed {
			t.Errorf("%s: run = %v", name, err)
		}
		if _, err := os.Lstat(filepath.Join(dir, "to", "new")); (err == nil) != c.placed {
			t.Errorf("%s: the copy is in its place: %v", name, err == nil)
		}
		if left := sh(t, dir, "rm -rf to temp; ls -A"); left != "" {
			t.Errorf("%s: %s is left", name, left)
		}
	}
}
