// Package debian gets Debian's signed packages as a tar stream: mmdebstrap in a
// user namespace, without root. apt checks every package against Debian's
// keys. Nothing of it stays on the host: what mmdebstrap unpacks belongs to the
// user's subordinate ids, lies in a directory of ours, and goes with it.
package debian

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/progress"
)

// Suite is the release that images and kernels come from: Debian 12.
const Suite = "bookworm"

const (
	program = "mmdebstrap"
	// epoch is SOURCE_DATE_EPOCH: no file of a tree is younger, so the hour of
	// the build is not in the result. Bookworm's release, 2023-06-10.
	epoch = "1686355200"
)

// Request is one tree of packages.
type Request struct {
	Variant string   // mmdebstrap's: "extract" unpacks alone, "apt" installs
	Include []string // packages
	// More are packages that somebody asked for: they come with what they recommend, as
	// by apt install. They may be misspelt, so apt is asked before anything is installed.
	More []string
	// Hooks are shell lines that are run at the end with the tree as $1.
	Hooks []string
	// SpaceMiB is what the unpacked tree takes for a while, packages included.
	SpaceMiB int64
	// Note is a file that names the temporary directory for as long as there
	// is one: Sweep takes it from there after a crash.
	Note string
	// Stage names the progress; Step gets it.
	Stage string
	Step  progress.Func
}

// Tar runs read on the tree as a tar stream, and ends it with read's error or
// ctx. An error of mmdebstrap beats one of read, which then sees a cut stream.
// Whatever the end, no process and no file of mmdebstrap's is left.
func Tar(ctx context.Context, q Request, read func(io.Reader) error) error {
	return withDir(q.SpaceMiB, q.Note, func(path, dir string) error { return run(ctx, path, dir, q, read) })
}

// withDir calls do with mmdebstrap's path and a temporary directory, which note names for as
// long as there is one. It is gone afterwards, whatever do leaves in it.
func withDir(spaceMiB int64, note string, do func(path, dir string) error) (err error) {
	path, err := Check()
	if err != nil {
		return err
	}
	dir, err := tempDir(spaceMiB)
	if err != nil {
		return err
	}
	if err := os.WriteFile(note, []byte(dir), 0o600); err != nil {
		return errors.Join(err, os.Remove(dir))
	}
	defer func() {
		if rerr := Sweep(note); rerr != nil && err == nil {
			err = rerr
		}
	}()
	return do(path, dir)
}

// guard becomes "$0" and leaves a process in its group that ends the group when
// stdin, which we hold, is closed: by us, or by our death. mmdebstrap itself
// would go on without us, and while it installs it ignores all signals but
// SIGKILL, being the first process of a pid namespace.
const guard = `exec 3<&0 </dev/null
{ cat <&3; kill -KILL 0; } >/dev/null 2>&1 &
exec "$0" "$@" 3<&-`

func run(ctx context.Context, path, dir string, q Request, read func(io.Reader) error) error {
	cmd := exec.Command("/bin/sh", append([]string{"-c", guard, path}, arguments(q)...)...)
	return runGuarded(ctx, cmd, dir, read, func(words io.Reader) func(error) error {
		text := follow(words, q)
		return func(err error) error { return explain(text, err, dir) }
	})
}

// runGuarded runs cmd, which is guard or guardInput, in a group of its own with dir as its
// temporary directory, and read on what it writes. hear reads its stderr to the end, and
// returns what explains its failure.
func runGuarded(ctx context.Context, cmd *exec.Cmd, dir string, read func(io.Reader) error, hear func(io.Reader) func(error) error) error {
	over, giveUp := context.WithCancel(ctx)
	defer giveUp()
	cmd.Env = environment(dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, hold, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stdin.Close()
	defer hold.Close()
	cmd.Stdin = stdin
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	words, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	// Its temporary directory is ours to remove, so there is nothing to wait
	// for. The guard keeps the group's number from being anybody else's. In the
	// namespace root is another uid, but a namespace's owner may signal it.
	defer context.AfterFunc(over, func() { unix.Kill(-cmd.Process.Pid, unix.SIGKILL) })()
	explained := make(chan func(error) error, 1)
	go func() { explained <- hear(words) }() // ends with the last process that has stderr
	readErr := read(out)
	if readErr != nil && !cut(readErr) {
		giveUp()
	}
	io.Copy(io.Discard, out)
	explanation := <-explained
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case readErr != nil && !cut(readErr):
		return readErr
	case err != nil:
		return explanation(err)
	}
	return readErr
}

// cut reports whether a reader's error is only that the stream ended.
func cut(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) }

const (
	// anonymous keeps the host's name from what packages write when they are installed.
	// mmdebstrap's namespace has a name of its own.
	anonymous = "hostname debian || :"
	// recommending begins a hook's line that installs packages with those that they
	// recommend, and inTree goes on with mmdebstrap's own options for apt outside of the
	// tree (run_install).
	recommending = `APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get --yes --option APT::Install-Recommends=true install`
	inTree       = ` --option DPkg::Chroot-Directory="$1" --option Dir::Bin::dpkg=env --option DPkg::Options::=--unset=TMPDIR --option DPkg::Options::=dpkg`
)

func arguments(q Request) []string {
	args := []string{"--mode=unshare", "--format=tar", "--variant=" + q.Variant,
		"--include=" + strings.Join(q.Include, ","),
		`--aptopt=Acquire::Retries "3"`, `--aptopt=Acquire::http::Timeout "20"`,
		"--setup-hook=" + anonymous}
	hook := "--customize-hook="
	if q.Variant == "extract" {
		hook = "--extract-hook=" // the last that this variant runs
	}
	if len(q.More) > 0 {
		names := " -- " + strings.Join(q.More, " ") + " >/dev/null"
		args = append(args, "--extract-hook="+recommending+" --simulate"+names, "--customize-hook="+recommending+inTree+names)
	}
	for _, h := range q.Hooks {
		args = append(args, hook+h)
	}
	return append(args, Suite, "-")
}

// environment is what mmdebstrap, and through it the packages' scripts, see of
// ours: little.
func environment(dir string) []string {
	env := []string{"LC_ALL=C.UTF-8", "TMPDIR=" + dir, "SOURCE_DATE_EPOCH=" + epoch,
		"PATH=" + strings.TrimPrefix(os.Getenv("PATH")+":/usr/sbin:/usr/bin:/sbin:/bin", ":")}
	for _, k := range []string{"HOME", "USER", "LOGNAME", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
		if v, ok := os.LookupEnv(k); ok {
			env = append(env, k+"="+v)
		}
	}
	return env
}
