package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"banger/internal/workspace"
)

// The name of a VM means the work in its repository and in the submodules, as with diff
// and apply; an id means only the one.
func TestSavedOfName(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	dir, err := workDir()
	if err != nil {
		t.Fatal(err)
	}
	for n, at := range []string{"/root/repo", "/root/repo/sub", "/root/repo"} { // the last is older
		store := filepath.Join(dir, fmt.Sprintf("0123-%d", n+1))
		if out, err := exec.Command("git", "init", "-q", "--bare", filepath.Join(store, "git")).CombinedOutput(); err != nil {
			t.Fatalf("git init: %v: %s", err, out)
		}
		for file, text := range map[string]string{
			"workspace.json": fmt.Sprintf(`{"format":1,"vm":{"id":"0123","name":"dev","guest_path":%q}}`, at),
			"work.json":      fmt.Sprintf(`{"at":"20%d-01-01T00:00:00Z"}`, []int{20, 21, 19}[n]),
		} {
			if err := os.WriteFile(filepath.Join(store, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	list, err := findSaved("dev")
	if err != nil || len(list) != 2 || list[0].ID() != "0123-1" || list[1].ID() != "0123-2" {
		t.Errorf("findSaved = %v, %v; want the repository's and the submodule's", list, err)
	}
	left := func() string {
		list, _, err := workspace.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		ids := ""
		for _, s := range list {
			ids += s.ID() + " "
		}
		return ids
	}
	for _, c := range []struct{ ref, left string }{{"0123-3", "0123-2 0123-1 "}, {"dev", ""}} {
		a, o := newApp(t)
		if status := a.runLine(t, "saved", "drop", c.ref); status != 0 || left() != c.left {
			t.Errorf("saved drop %s: status %d, left are %q, want %q: %s", c.ref, status, left(), c.left, o.stderr())
		}
	}
}
