package debian

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"banger/internal/hint"
	"banger/internal/progress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake puts a shell script in mmdebstrap's place and returns a directory for
// temporary files, alone in it.
func fake(t *testing.T, script string) (tmp string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("the checks before mmdebstrap want subordinate ids of anybody but root")
	}
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, program), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	keyrings = []string{bin}
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	tmp = t.TempDir()
	t.Setenv("TMPDIR", tmp)
	return tmp
}

func request(t *testing.T) Request {
	return Request{Variant: "apt", Include: []string{"a", "b"}, More: []string{"c"}, Hooks: []string{"echo hook"}, Note: filepath.Join(t.TempDir(), "note"),
		Stage: "test", Step: progress.Discard}
}

// nothingLeft checks that no file is left where temporary ones were.
func nothingLeft(t *testing.T, tmp string, q Request) {
	t.Helper()
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
	if _, err := os.Stat(q.Note); !os.IsNotExist(err) {
		t.Errorf("the note is left (%v)", err)
	}
}

func TestStreamAndSteps(t *testing.T) {
	t.Setenv("SECRET", "token")
	t.Setenv("http_proxy", "http://proxy:1")
	tmp := fake(t, `
echo "I: running --setup-hook in shell: sh -c '`+anonymous+`' exec /x" >&2
echo "I: running apt-get update..." >&2
echo "I: downloading packages with apt..." >&2
echo "W: something odd" >&2
echo "I: extracting archives..." >&2
echo 'I: running --customize-hook in shell: sh -c `+recommending+` -- c' >&2
echo "I: creating tarball..." >&2
mkdir "$TMPDIR/mmdebstrap.x"; touch "$TMPDIR/mmdebstrap.x/file"
for a; do echo "$a"; done
env | sort`)
	q := request(t)
	var steps []string
	q.Step = func(s progress.Step) {
		steps = append(steps, fmt.Sprintf("%s %s %d/%d", s.Stage, s.Text, s.Done, s.Total))
	}
	var got string
	if err := Tar(context.Background(), q, func(r io.Reader) error {
		if note, err := os.ReadFile(q.Note); err != nil || !strings.HasPrefix(string(note), tmp) {
			t.Errorf("the note says %q, %v; want a directory in %q", note, err, tmp)
		}
		b, err := io.ReadAll(r)
		got = string(b)
		return err
	}); err != nil {
		t.Fatalf("Tar: %v", err)
	}
	want := []string{"test reading Debian's package lists 0/8", "test downloading packages 1/8", "test unpacking packages 2/8", "test reading the tree 7/8"}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	for _, want := range []string{"--mode=unshare\n", "--format=tar\n", "--variant=apt\n", "--include=a,b\n", "--customize-hook=echo hook\n",
		"--setup-hook=hostname debian || :\n",
		"--extract-hook=APT_CONFIG=\"$MMDEBSTRAP_APT_CONFIG\" apt-get --yes --option APT::Install-Recommends=true install --simulate -- c >/dev/null\n",
		" --option DPkg::Options::=dpkg -- c >/dev/null\n--customize-hook=echo hook\n", "\nbookworm\n-\n",
		"\nSOURCE_DATE_EPOCH=1686355200\n", "\nTMPDIR=" + tmp + "/banger-debian-", "\nhttp_proxy=http://proxy:1\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("mmdebstrap saw\n%s\nwithout %q", got, want)
		}
	}
	if strings.Contains(got, "SECRET") {
		t.Error("mmdebstrap saw the whole environment")
	}
	nothingLeft(t, tmp, q)
}

func TestFailures(t *testing.T) {
	for what, c := range map[string]struct {
		script     string
		want, hint string
		is         error
	}{
		"network": {`cat >&2 <<'E'
I: running apt-get update...
Err:1 http://example.org/debian bookworm InRelease
E: Failed to fetch http://example.org/debian/dists/bookworm/InRelease  Temporary failure resolving 'example.org'
E: Some index files failed to download.
E: mmdebstrap failed to run
E
exit 1`, "Temporary failure resolving", "network", nil},
		"cut in the middle": {`printf 'half a tar'; echo "E: Failed to fetch http://x/y.deb  Connection timed out" >&2; exit 1`, "timed out", "network", nil},
		"disk full":         {`echo "E: cannot copy: tar: ./usr: No space left on device" >&2; exit 1`, "no space left", "TMPDIR", unix.ENOSPC},
		"keys":              {`echo "E: The repository is not signed. NO_PUBKEY 0E98404D386FA1D9" >&2; exit 1`, "not signed", "debian-archive-keyring", nil},
		"unknown packages":  {`printf "I: installing\nE: Unable to locate package nosuch\nE: Package 'old' has no installation candidate\nE: setup failed: E: apt-get failed\n" >&2; exit 1`, `Debian bookworm has no package "nosuch", "old"`, "apt-cache search", nil},
		"namespace":         {`echo "E: unable to set up user namespace: unprivileged" >&2; exit 1`, "namespace", "doctor", nil},
		"no words":          {`exit 3`, "exit status 3", "", nil},
		"terminal":          {`printf 'E: \033]0;evil\007\n' >&2; exit 1`, `\x1b]0;evil\a`, "", nil},
		"by signal":         {`kill -SEGV $$`, "segmentation", "", nil},
	} {
		t.Run(what, func(t *testing.T) {
			tmp := fake(t, c.script)
			q := request(t)
			err := Tar(context.Background(), q, func(r io.Reader) error {
				b, err := io.ReadAll(r)
				if err == nil && len(b) < 100 {
					err = io.ErrUnexpectedEOF
				}
				return err
			})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(hint.Of(err), c.hint) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("Tar: %v (hint %q); want %q and a hint with %q", err, hint.Of(err), c.want, c.hint)
			}
			nothingLeft(t, tmp, q)
		})
	}
}

// sleeper starts a child that outlives signals to its parent alone.
const sleeper = `
sleep 300 & echo $! > "$TMPDIR/../pid"
echo "I: extracting archives..." >&2
wait`

func TestCancelEndsTheGroup(t *testing.T) {
	tmp := fake(t, sleeper)
	q := request(t)
	ctx, cancel := context.WithCancel(context.Background())
	q.Step = func(progress.Step) { cancel() }
	begin := time.Now()
	err := Tar(ctx, q, func(r io.Reader) error { _, err := io.ReadAll(r); return err })
	if !errors.Is(err, context.Canceled) || time.Since(begin) > 5*time.Second {
		t.Errorf("Tar = %v after %v; want a quick cancellation", err, time.Since(begin))
	}
	text, err := os.ReadFile(filepath.Join(tmp, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(tmp, "pid"))
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	// Orphaned, it may stay a zombie for as long as init takes to reap it.
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(stat), ") Z ") && !strings.Contains(string(stat), ") X ") {
		t.Errorf("mmdebstrap's child lives on: %s", stat)
		syscall.Kill(pid, syscall.SIGKILL)
	}
	nothingLeft(t, tmp, q)
}

func TestReadersErrorEndsIt(t *testing.T) {
	tmp := fake(t, sleeper)
	q := request(t)
	boom := errors.New("boom")
	if err := Tar(context.Background(), q, func(io.Reader) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("Tar = %v, want the reader's error", err)
	}
	os.Remove(filepath.Join(tmp, "pid"))
	nothingLeft(t, tmp, q)
}

func TestWhatIsMissing(t *testing.T) {
	fake(t, "exit 0")
	known := keyrings
	keyrings = []string{"/nonexistent"}
	if _, err := Check(); err == nil || !strings.Contains(hint.Of(err), "debian-archive-keyring") {
		t.Errorf("Check without keys: %v (hint %q)", err, hint.Of(err))
	}
	keyrings = known
	t.Setenv("PATH", t.TempDir())
	if _, err := Check(); err == nil || !strings.Contains(hint.Of(err), "apt-get install mmdebstrap") {
		t.Errorf("Check without mmdebstrap: %v (hint %q)", err, hint.Of(err))
	}
	if err := CheckSubIDs(); err == nil || !strings.Contains(hint.Of(err), "uidmap") {
		t.Errorf("CheckSubIDs without newuidmap: %v (hint %q)", err, hint.Of(err))
	}
}

func TestSubIDs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "subuid")
	for text, want := range map[string]bool{
		"": false, "u:100000:65536\n": true, "v:100000:65536\nu:165536:65536\n": true, "v:1:65536": false,
		"u:100000:65535\n": false, "u:100000": false, "u:100000:many\n": false, "# u\nu:1:99999\n": true,
		"u:100000:10\nu:200000:65536\n": false, // mmdebstrap takes the first line
		"1000:100000:65536\n":           false, // and looks for names alone
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := checkSubIDs("u", file)
		if (err == nil) != want {
			t.Errorf("checkSubIDs with %q: %v, want it to pass: %v", text, err, want)
		}
		if line := "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 u"; err != nil && hint.Of(err) != line {
			t.Errorf("checkSubIDs with %q: hint %q, want %q", text, hint.Of(err), line)
		}
	}
	if err := checkSubIDs("u", filepath.Join(t.TempDir(), "none")); hint.Of(err) == "" {
		t.Errorf("checkSubIDs without a file: %v", err)
	}
}

func TestTemporaryDirectory(t *testing.T) {
	base := t.TempDir()
	t.Setenv("TMPDIR", base)
	if _, err := tempDir(1 << 40); os.Getuid() == 0 && (!errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), base) || hint.Of(err) == "") {
		t.Errorf("tempDir with too little room: %v (hint %q)", err, hint.Of(err))
	}
	t.Setenv("TMPDIR", filepath.Join(base, "none"))
	if _, err := tempDir(1); err == nil || hint.Of(err) == "" {
		t.Errorf("tempDir in nothing: %v (hint %q)", err, hint.Of(err))
	}
	t.Setenv("TMPDIR", "")
	dir, err := tempDir(1)
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(dir)
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o711 {
		t.Errorf("tempDir made %v, %v; want a directory that others can pass", fi.Mode(), err)
	}
}

func TestSweepBelievesLittle(t *testing.T) {
	base := t.TempDir()
	note := filepath.Join(base, "note")
	precious := filepath.Join(base, "precious")
	ours := filepath.Join(base, tempPrefix+"1")
	for _, d := range []string{precious, ours} {
		if err := os.MkdirAll(filepath.Join(d, "sub"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"", precious, "/", "relative", tempPrefix + "1", ours} {
		if err := os.WriteFile(note, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Sweep(note); err != nil {
			t.Errorf("Sweep of %q: %v", text, err)
		}
		if _, err := os.Stat(note); !os.IsNotExist(err) {
			t.Errorf("Sweep of %q left the note", text)
		}
		if _, err := os.Stat(precious); err != nil {
			t.Fatalf("Sweep of %q took what is not ours", text)
		}
	}
	if _, err := os.Stat(ours); !os.IsNotExist(err) {
		t.Errorf("Sweep left %q", ours)
	}
	if err := Sweep(note); err != nil {
		t.Errorf("Sweep without a note: %v", err)
	}
}

func FuzzFollow(f *testing.F) {
	f.Add("I: creating tarball...\nE: failed\n")
	f.Add(strings.Repeat("long ", 20000))
	f.Fuzz(func(t *testing.T, words string) {
		got := follow(strings.NewReader(words), Request{Step: progress.Discard})
		if len(got.all) > maxWords+maxLine {
			t.Errorf("follow kept %d bytes", len(got.all))
		}
		if err := explain(got, errors.New("exit"), "/tmp"); len(err.Error()) > 4000 || strings.ContainsAny(err.Error(), "\x1b\n") {
			t.Errorf("explain: %q", err)
		}
	})
}
