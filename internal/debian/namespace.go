package debian

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// Script is a shell script that runs as the root of a user namespace with many ids, as
// packages' scripts do, in a new empty directory that is TMPDIR and goes with it.
type Script struct {
	Text string
	Args []string
	// Stdin is what it reads. It can't open files of the user's.
	Stdin *os.File
	// SpaceMiB is what it takes in its directory for a while; Note as of Request.
	SpaceMiB int64
	Note     string
}

// guardInput is guard for a program that has a stdin: it is descriptor 3.
const guardInput = `exec 4<&0 <&3 3<&-
{ cat <&4; kill -KILL 0; } >/dev/null 2>&1 </dev/null &
exec "$0" "$@" 4<&-`

// Run runs read on what a script writes, and ends it with read's error or ctx. Whatever the
// end, no process and no file of the script's is left.
func Run(ctx context.Context, s Script, read func(io.Reader) error) error {
	return withDir(s.SpaceMiB, s.Note, func(path, dir string) error { return runScript(ctx, path, dir, s, read) })
}

// below makes the directory of the script's own: the one around it belongs to the user.
const below = `mkdir -m 700 "$TMPDIR/tree"; TMPDIR="$TMPDIR/tree"; cd "$TMPDIR"
`

func runScript(ctx context.Context, path, dir string, s Script, read func(io.Reader) error) error {
	// The namespace's root is another uid, which makes its directory here. Nobody else can
	// put another in that one's place.
	if err := os.Chmod(dir, 0o733|os.ModeSticky); err != nil {
		return err
	}
	args := []string{"-c", guardInput, path, "--unshare-helper", "/bin/sh", "-euc", below + s.Text, "sh"}
	cmd := exec.Command("/bin/sh", append(args, s.Args...)...)
	cmd.ExtraFiles = []*os.File{s.Stdin} // 3
	return runGuarded(ctx, cmd, dir, read, func(words io.Reader) func(error) error {
		said := &tail{}
		io.Copy(said, words)
		return func(err error) error {
			text := strings.TrimSpace(said.String())
			return fmt.Errorf("%w: %q", err, text[max(0, len(text)-1000):])
		}
	})
}

// tail keeps the end of what is written to it.
type tail struct{ bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	if t.Len()+len(p) > maxWords {
		t.Reset()
	}
	if len(p) > maxWords {
		return len(p), nil
	}
	return t.Buffer.Write(p)
}
