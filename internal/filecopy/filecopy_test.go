package filecopy

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/lease"
	"banger/internal/shtest"
)

var sh = shtest.Run

// copyAll sends paths of from and receives them in to.
func copyAll(t *testing.T, from string, paths []string, o Options) (Result, error) {
	t.Helper()
	var stream bytes.Buffer
	if err := Send(t.Context(), &stream, from, paths, Header{}, nil); err != nil {
		t.Fatal(err)
	}
	return Receive(t.Context(), &stream, o)
}

const listing = `find . ! -path . -printf '%P %M %s %l %Ts\n' | sort`

// What comes is what went: names of any bytes, modes, links, times, holes.
func TestCopy(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	sh(t, from, `mkdir -p d/e/empty "$(printf 'n\nl')"; echo 1 >d/f; printf '#!/bin/sh\n' >d/x; chmod 755 d/x; chmod 600 d/f; ln -s f d/l; ln -s /etc/passwd d/abs; ln -s nowhere d/dangling
		touch -d @1600000000 d/f; printf x >"$(printf 'd/\377')"; truncate -s 8M d/hole; echo end >>d/hole; mkfifo d/fifo; touch -d @1500000000 d/e`)
	got, err := copyAll(t, from, []string{"d"}, Options{Dest: to})
	if err != nil {
		t.Fatal(err)
	}
	if got.Files != 7 || got.Bytes != 8<<20+4+1+2+10 {
		t.Errorf("Receive = %+v", got)
	}
	sh(t, from, "rm d/fifo; rmdir n*")
	if a, b := sh(t, from, listing+" | grep -av '^d d'"), sh(t, to, listing+" | grep -av '^d d'"); a != b {
		t.Errorf("sent:\n%s\nreceived:\n%s", a, b)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(to, "d/hole"), &st); err != nil || st.Blocks*512 > 1<<20 {
		t.Errorf("a file with a hole takes %d bytes, %v", st.Blocks*512, err)
	}
}

// What a link with a slash names comes under the link's name, as typed.
func TestNamedByLink(t *testing.T) {
	from := t.TempDir()
	sh(t, from, "mkdir -p d/e; echo 1 >d/f; ln -s d l")
	for typed, want := range map[string]string{
		"l": "l", "l/": "l l/e l/f", from + "/l/": "l l/e l/f", "d/e/../": "d d/e d/f", "l/.": "l",
	} {
		to := t.TempDir()
		if _, err := copyAll(t, from, []string{typed}, Options{Dest: to, Names: []string{Name(from, typed)}}); err != nil {
			t.Errorf("%s: %v", typed, err)
		}
		if got := strings.Join(strings.Fields(sh(t, to, `find . ! -path . -printf '%P\n' | sort`)), " "); got != want {
			t.Errorf("%s gives %q, want %q", typed, got, want)
		}
	}
	for _, typed := range []string{"/", "//", "/usr/.."} {
		if err := Send(t.Context(), io.Discard, from, []string{typed}, Header{}, nil); err == nil {
			t.Errorf("Send(%q) = nil", typed)
		}
	}
}

// A file that goes while its directory is sent is left out; what was named is not.
func TestGoneMeanwhile(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	sh(t, from, "mkdir -p d/e; echo 1 >d/a; echo 2 >d/b; ln -s a d/l; echo 3 >f")
	send := func(remove string, paths ...string) (*bytes.Buffer, error) {
		var stream bytes.Buffer
		err := Send(t.Context(), writerFunc(func(p []byte) (int, error) { // the walk has ended
			sh(t, from, "rm -rf "+remove)
			return stream.Write(p)
		}), from, paths, Header{}, nil)
		return &stream, err
	}
	sh(t, from, "truncate -s 1M d/0") // more than is sent at once
	stream, err := send("d/b d/l d/e", "d")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Receive(t.Context(), stream, Options{Dest: to}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(sh(t, to, "find d -type f | sort")); strings.Join(got, " ") != "d/0 d/a" {
		t.Errorf("there is %q", got)
	}
	if _, err := send("f", "d", "f"); err == nil {
		t.Error("a file that was named went, and that is no error")
	}
}

type writerFunc func(p []byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }

// Where things go: into a directory, under a new name, over a file, into one another.
func TestPlaces(t *testing.T) {
	from := t.TempDir()
	sh(t, from, `echo new >f; mkdir d; echo new >d/a; echo b >d/b`)
	for name, c := range map[string]struct {
		before, dest string
		paths        []string
		want         string // the listing of names, or part of the error
	}{
		"into a directory":     {"mkdir o", "o", []string{"f", "d"}, "o o/d o/d/a o/d/b o/f"},
		"a new name":           {"", "n", []string{"d"}, "n n/a n/b"},
		"over a file":          {"echo old >f", "f", []string{"f"}, "f"},
		"directories merge":    {"mkdir d; echo old >d/a; echo c >d/c", ".", []string{"d"}, "d d/a d/b d/c"},
		"a file over a dir":    {"mkdir -p x/f", "x", []string{"f"}, "is there already, as a directory"},
		"a dir over a file":    {"echo >d", ".", []string{"d"}, "is there already, as a file"},
		"a dir over a link":    {"mkdir e; ln -s e d", ".", []string{"d"}, "is there already, as a file"},
		"no such directory":    {"", "no/such/f", []string{"f"}, "there is no directory"},
		"no such, with slash":  {"", "no/", []string{"f"}, "there is no directory"},
		"two under a new name": {"", "n", []string{"f", "d"}, "2 items were named"},
	} {
		t.Run(name, func(t *testing.T) {
			to := t.TempDir()
			sh(t, to, c.before+"\n:")
			_, err := copyAll(t, from, c.paths, Options{Dest: c.dest, Dir: to})
			got := strings.Join(strings.Fields(sh(t, to, `find . ! -path . -printf '%P\n' | sort`)), " ")
			if err != nil {
				got = err.Error() + " " + sh(t, to, "ls -A | grep banger-cp || true")
				if strings.Contains(got, "banger-cp") {
					t.Errorf("something is left: %s", got)
				}
			}
			if got != c.want && !(err != nil && strings.Contains(got, c.want)) {
				t.Errorf("%v: %q, want %q", err, got, c.want)
			}
		})
	}
}

// A stream that is cut anywhere leaves nothing; set-id bits don't come along; what is
// skipped is not there.
func TestCutAndSkipped(t *testing.T) {
	from := t.TempDir()
	sh(t, from, `mkdir -p d/.git/hooks d/.GIT; echo h >d/.git/hooks/h; echo 1 >d/f; chmod 4755 d/f; seq 1000 >d/g`)
	var stream bytes.Buffer
	if err := Send(t.Context(), &stream, from, []string{"d"}, Header{}, nil); err != nil {
		t.Fatal(err)
	}
	whole := stream.Bytes()
	for n := 0; n < len(whole)-1536; n += 700 {
		to := t.TempDir()
		if _, err := Receive(t.Context(), bytes.NewReader(whole[:n]), Options{Dest: to}); err == nil {
			t.Fatalf("a stream that is cut after %d of %d bytes is taken", n, len(whole))
		}
		if left, _ := os.ReadDir(to); len(left) > 0 {
			t.Fatalf("a stream that is cut after %d bytes leaves %v", n, left)
		}
	}
	to := t.TempDir()
	skip := func(name string) bool { return strings.EqualFold(name, ".git") }
	if _, err := Receive(t.Context(), bytes.NewReader(whole), Options{Dest: to, Skip: skip}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(strings.Fields(sh(t, to, `find . -printf '%P\n' | sort`)), " "); got != "d d/f d/g" {
		t.Errorf("received %q", got)
	}
	if fi, err := os.Stat(filepath.Join(to, "d/f")); err != nil || fi.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
		t.Errorf("d/f: %v, %v", fi.Mode(), err)
	}
}

func FuzzReceive(f *testing.F) {
	var stream bytes.Buffer
	dir := f.TempDir()
	os.WriteFile(filepath.Join(dir, "a"), []byte("x"), 0o644)
	os.Symlink("a", filepath.Join(dir, "l"))
	if err := Send(f.Context(), &stream, dir, []string{"a", "l"}, Header{}, nil); err != nil {
		f.Fatal(err)
	}
	f.Add(stream.Bytes())
	base := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		outer, err := os.MkdirTemp(base, "f")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(outer)
		to := filepath.Join(outer, "to")
		os.Mkdir(to, 0o755)
		_, rerr := Receive(t.Context(), bytes.NewReader(b), Options{Dest: to})
		if entries, err := os.ReadDir(outer); err != nil || len(entries) != 1 {
			t.Errorf("beside the destination there is %v, %v", entries, err)
		}
		if entries, _ := os.ReadDir(to); rerr != nil && len(entries) > 1 {
			t.Errorf("after %v there is %v", rerr, entries)
		}
	})
}

// What a copy left that was killed goes with the next one there; what one is at that runs
// does not.
func TestKilledCopy(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	sh(t, from, "echo 1 >f")
	sh(t, to, "mkdir -p "+tempPrefix+"killed/d; echo half >"+tempPrefix+"killed/d/f")
	runs, err := lease.New(to, tempPrefix)
	if err != nil {
		t.Fatal(err)
	}
	defer runs.Close()
	if _, err := copyAll(t, from, []string{"f"}, Options{Dest: to}); err != nil {
		t.Fatal(err)
	}
	if got, want := sh(t, to, "ls -A"), filepath.Base(runs.Dir)+"\nf\n"; got != want {
		t.Errorf("there are\n%swant\n%s", got, want)
	}
}
