package instance

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"banger/internal/hint"
	"banger/internal/paths"
)

// A directory that this user can't use is named with the variable that chose it.
func TestC20Closed(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("XDG_CACHE_HOME", "/srv")
	dirs := paths.Dirs{State: "/home/a/.local/state/banger", Cache: "/srv/banger"}
	for path, want := range map[string][2]string{
		dirs.Images(): {"XDG_CACHE_HOME", "XDG_CACHE_HOME"},
		dirs.VMs():    {"HOME", "XDG_STATE_HOME"},
	} {
		err := closed(dirs, fmt.Errorf("open: %w", &fs.PathError{Op: "mkdir", Path: path, Err: fs.ErrPermission}))
		if !strings.HasPrefix(err.Error(), "use the directory that "+want[0]+" names: open: mkdir "+path) || !strings.Contains(hint.Of(err), "set "+want[1]) {
			t.Errorf("%v (%s): want %v named", err, hint.Of(err), want)
		}
	}
	if err := closed(dirs, fs.ErrNotExist); err != fs.ErrNotExist {
		t.Errorf("closed changed %v", err)
	}
}
