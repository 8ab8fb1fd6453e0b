// Package workspace is the guest's half of a workspace: it makes the repository
// out of the stream that the host sends, and reports what has become of it. It
// runs as a process of a session (package program), not in the agent. What is said is package
// wire's.
//
// Neither needs a program of the image's. A report uses its git, if there is one: only
// then do commits come out.
package workspace

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"banger/internal/workspace/wire"
)

// Run runs the half that args name: "receive", "report" or "objects". What went wrong for the
// host stands in the answer on out.
func Run(ctx context.Context, args []string, home string, in io.Reader, out io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("%q: want %s, %s or %s", args, wire.Receive, wire.Answer, wire.Objects)
	}
	switch args[0] {
	case wire.Receive:
		got, err := Receive(ctx, in, home)
		if err != nil {
			return wire.WriteJSON(out, wire.Received{Error: err.Error()})
		}
		if err := wire.WriteJSON(out, got); err != nil {
			return err
		}
		return syncFS(string(got.Path))
	case wire.Answer:
		var q wire.Question
		if err := wire.ReadJSON(bufio.NewReader(in), &q); err != nil {
			return err
		}
		return Report(ctx, q, home, out)
	case wire.Objects:
		return Objects(ctx, in, home, out)
	}
	return fmt.Errorf("%q: want %s, %s or %s", args[0], wire.Receive, wire.Answer, wire.Objects)
}

// syncFS brings what was written on the file system of path to the disk: a guest that is cut off
// may not begin with files that are empty, and be asked for them as edits.
func syncFS(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync the file system of %q: %w", path, err)
	}
	return nil
}

// place is where a workspace's tree is: path, beneath home if it is relative.
func place(path []byte, home string) string {
	if filepath.IsAbs(string(path)) {
		return filepath.Clean(string(path))
	}
	return filepath.Join(home, string(path))
}
