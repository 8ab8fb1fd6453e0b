package paths

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestResolve(t *testing.T) {
	home := func() (string, error) { return "/home/u", nil }
	none := func() (string, error) { return "", errors.New("no home") }
	env := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	for name, c := range map[string]struct {
		env  map[string]string
		home func() (string, error)
		want Dirs
	}{
		"plain": {nil, home,
			Dirs{"/home/u/.config/banger", "/home/u/.local/state/banger", "/home/u/.cache/banger"}},
		"another state directory": {map[string]string{"XDG_RUNTIME_DIR": "/run/user/7", "XDG_STATE_HOME": "/s"}, home,
			Dirs{"/home/u/.config/banger", "/s/banger", "/home/u/.cache/banger"}},
		"all set, no home": {map[string]string{"XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s", "XDG_CACHE_HOME": "/h"}, none,
			Dirs{"/c/banger", "/s/banger", "/h/banger"}},
	} {
		if got, err := resolve(env(c.env), c.home); err != nil || got != c.want {
			t.Errorf("%s: resolve = %+v, %v; want %+v", name, got, err, c.want)
		}
	}
	for name, c := range map[string]struct {
		env  map[string]string
		home func() (string, error)
	}{
		"no home":            {nil, none},
		"relative home":      {nil, func() (string, error) { return "u", nil }},
		"relative directory": {map[string]string{"XDG_STATE_HOME": "s"}, home},
	} {
		if got, err := resolve(env(c.env), c.home); err == nil {
			t.Errorf("%s: resolve = %+v, want an error", name, got)
		}
	}
}

// A runtime directory of another user is not used.
func TestC20RuntimeDirOfAnother(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	if got := Memory(); got[0] != filepath.Join(dir, "banger") {
		t.Errorf("Memory() = %q, want %s first", got, dir)
	}
	if err := os.Chown(dir, os.Getuid()+1, -1); err != nil {
		t.Skipf("only root can give a directory away: %v", err)
	}
	if got := Memory(); len(got) != 1 || strings.HasPrefix(got[0], dir) {
		t.Errorf("Memory() = %q, want nothing in %s", got, dir)
	}
}
