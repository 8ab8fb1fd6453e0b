package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// cutApply makes a repository what an apply that was cut leaves: f is written, and the
// journal has what it held.
func cutApply(t *testing.T, repo string) {
	t.Helper()
	dir := filepath.Join(repo, ".git", "banger-apply")
	for _, d := range []string{"old", "new"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(dir, "old", "0"), "old\n")
	writeFile(t, filepath.Join(dir, "new", "0"), "new\n")
	writeFile(t, filepath.Join(repo, "f"), "new\n")
	writeFile(t, filepath.Join(dir, "journal.json"), `{"format":2,"store":"1","tree":"t","paths":[{"path":"Zg==","old_mode":33188,"new_mode":33188}]}`)
}

// --undo takes back an apply that was cut, and not the one before it; what was edited is
// named, with where the rest is.
func TestUndoCut(t *testing.T) {
	s := newStore(t)
	info, err := s.Info()
	if err != nil {
		t.Fatal(err)
	}
	repo := info.Repository
	cutApply(t, repo)
	if err := os.Rename(filepath.Join(repo, ".git", "banger-apply"), filepath.Join(repo, ".git", "banger-undo")); err != nil {
		t.Fatal(err)
	}
	cutApply(t, repo)
	writeFile(t, filepath.Join(repo, "f"), "edit\n")
	a, o := newApp(t)
	if status := a.runLine(t, "vm", "workspace", "apply", "--undo", "--repo", repo); status != 0 {
		t.Errorf("status %d", status)
	}
	for _, want := range []string{"an apply that was cut has been taken back in", `left as it is: "f"; what was there before is in "` + filepath.Join(repo, ".git", "banger-cut-")} {
		if !strings.Contains(o.stderr(), want) {
			t.Errorf("stderr has %q, not %q", o.stderr(), want)
		}
	}
	if kept, err := filepath.Glob(filepath.Join(repo, ".git", "banger-cut-*", "f")); len(kept) != 1 || err != nil {
		t.Errorf("kept are %q, %v", kept, err)
	}
	if text, err := os.ReadFile(filepath.Join(repo, "f")); string(text) != "edit\n" {
		t.Errorf("f has %q, %v", text, err)
	}
	if _, err := os.Stat(filepath.Join(repo, ".git", "banger-undo", "journal.json")); err != nil {
		t.Errorf("the apply before it: %v", err)
	}
}
