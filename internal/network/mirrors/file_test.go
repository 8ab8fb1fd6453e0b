package mirrors

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Files that are not what a client has there are noted, and nothing waits for them.
func TestBadFiles(t *testing.T) {
	const good = "registry=https://a.example.org\n"
	for _, tt := range []struct {
		name string
		make func(t *testing.T, root, npmrc string) error
		note string // "" is a file that is read
	}{
		{"a pipe", func(t *testing.T, _, npmrc string) error { return unix.Mkfifo(npmrc, 0o600) }, "no regular file"},
		{"a directory", func(t *testing.T, _, npmrc string) error { return os.Mkdir(npmrc, 0o700) }, "no regular file"},
		{"100 MiB", func(t *testing.T, _, npmrc string) error {
			if err := os.WriteFile(npmrc, []byte(good), 0o600); err != nil {
				return err
			}
			return os.Truncate(npmrc, 100<<20)
		}, "larger than 1048576 bytes"},
		{"a link into a work tree", func(t *testing.T, root, npmrc string) error {
			if err := os.MkdirAll(filepath.Join(root, "home/u/src"), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(root, "home/u/src/.npmrc"), []byte(good), 0o600); err != nil {
				return err
			}
			return os.Symlink("src/.npmrc", npmrc)
		}, `it lies in "/home/u/src"`},
		{"a link to itself", func(t *testing.T, _, npmrc string) error { return os.Symlink(".npmrc", npmrc) }, "too many levels"},
		{"a link to nothing", func(t *testing.T, _, npmrc string) error { return os.Symlink("gone", npmrc) }, ""},
		{"a link to a hidden directory", func(t *testing.T, root, npmrc string) error {
			if err := os.MkdirAll(filepath.Join(root, "home/u/.dotfiles"), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(root, "home/u/.dotfiles/npmrc"), []byte(good), 0o600); err != nil {
				return err
			}
			return os.Symlink("/home/u/.dotfiles/npmrc", npmrc)
		}, ""},
		{"bytes of any kind", func(t *testing.T, _, npmrc string) error {
			return os.WriteFile(npmrc, []byte("\x00\xff\x1b[31m=[\n[\nx=\x00\n"+good), 0o600)
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := hostWith(t, nil)
			if err := tt.make(t, h.Root, filepath.Join(h.Root, h.Home, ".npmrc")); err != nil {
				t.Fatal(err)
			}
			f := Read(h)
			if tt.note == "" {
				if read := len(f.Settings) == 1; len(f.Notes) > 0 || read != (tt.name != "a link to nothing") {
					t.Errorf("found %v, notes %q", lines(f), f.Notes)
				}
				return
			}
			if len(f.Settings) != 0 || len(f.Notes) != 1 || !strings.Contains(f.Notes[0], tt.note) || !strings.Contains(f.Notes[0], `"/home/u/.npmrc"`) {
				t.Errorf("found %v, notes %q, want a note with %q", lines(f), f.Notes, tt.note)
			}
		})
	}
}

func TestReadWithoutAnything(t *testing.T) {
	for _, h := range []Host{{Root: t.TempDir()}, {Root: t.TempDir(), Home: "relative"}, {Root: t.TempDir(), Home: "/gone"}, {Root: t.TempDir(), Home: "/"}} {
		f := Read(h)
		if len(f.Settings)+len(f.Notes) > 0 || len(f.Unknown) != 6 {
			t.Errorf("Read(%+v) = %+v", h, f)
		}
		if c, notes := f.Guest(Distribution{}); len(c.Files)+len(c.Env)+len(notes) > 0 || c.Apt != nil {
			t.Errorf("Guest of nothing = %+v, %q", c, notes)
		}
	}
	if f := Read(Host{Root: filepath.Join(t.TempDir(), "gone")}); len(f.Notes) != 1 {
		t.Errorf("notes are %q, want one", f.Notes)
	}
}

// A home directory behind a link is the home directory.
func TestHomeBehindALink(t *testing.T) {
	h := hostWith(t, map[string]string{"/var/home/v/.npmrc": "registry=https://a.example.org\n", "/var/home/v/src/x": ""})
	if err := os.Symlink("/var/home/v", filepath.Join(h.Root, "home/v")); err != nil {
		t.Fatal(err)
	}
	h.Home = "/home/v"
	if f := Read(h); len(f.Settings) != 1 || len(f.Notes) != 0 {
		t.Errorf("found %v, notes %q", lines(f), f.Notes)
	}
}

func TestManyEntries(t *testing.T) {
	h := hostWith(t, nil)
	dir := filepath.Join(h.Root, "etc/apt/apt.conf.d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 1100 {
		if err := os.Symlink("/dev/null", filepath.Join(dir, strings.Repeat("a", i%200+1)+string(rune('a'+i/200)))); err != nil {
			t.Fatal(err)
		}
	}
	h.Env = []string{"PATH=" + strings.Repeat("/usr/bin:", 100)}
	if f := Read(h); len(f.Notes) > maxNotes || !strings.Contains(f.Notes[0], "only 1000 entries") {
		t.Errorf("%d notes, the first is %q", len(f.Notes), f.Notes[0])
	}
}
