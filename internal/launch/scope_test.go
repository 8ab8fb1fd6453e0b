package launch

import (
	"os"
	"strconv"
	"testing"
)

// Another user's runtime directory is not ours, though XDG_RUNTIME_DIR names it.
func TestC20RuntimeDir(t *testing.T) {
	own, usual := t.TempDir(), "/run/user/"+strconv.Itoa(os.Getuid())
	other := "/proc/1" // root's
	if os.Getuid() == 0 {
		other = t.TempDir()
		if err := os.Chown(other, 12345, -1); err != nil {
			t.Fatal(err)
		}
	}
	for dir, want := range map[string]string{own: own, other: usual, own + "/missing": usual, "": usual} {
		t.Setenv("XDG_RUNTIME_DIR", dir)
		if got := runtimeDir(); got != want {
			t.Errorf("the runtime directory with XDG_RUNTIME_DIR=%q is %q, want %q", dir, got, want)
		}
	}
}
