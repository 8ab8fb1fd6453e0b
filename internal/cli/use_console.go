package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"banger/internal/api"
	"banger/internal/channel"
	"banger/internal/channel/exec"
	"banger/internal/session"
)

// useConsole joins the terminal to the serial console behind line, with a shell of
// root's on it, until the shell, the VM or ctx ends, or the user types the escape.
// It closes line.
func (a *app) useConsole(ctx context.Context, where api.Session, line channel.Stream) error {
	a.note("the console of %s: Ctrl-] leaves it, and ends its shell", where.Name)
	t, err := openTerminal(a.stdin, a.stdout)
	if err != nil {
		line.Close()
		return fmt.Errorf("prepare the terminal: %w", err)
	}
	restore := func() { t.close() }
	a.intr.restore.Store(&restore)
	defer restore()
	ctx, leave := context.WithCancelCause(ctx)
	var using sync.WaitGroup
	defer using.Wait()
	defer line.Close()
	defer leave(nil)
	defer context.AfterFunc(ctx, func() { line.Close() })()
	go func() { // ends with the escape, or the program
		if typeKeys(line, a.stdin) {
			leave(errLeft)
		}
	}()
	using.Go(func() { // ends with ctx
		status, err := a.consoleShell(ctx, where, t)
		switch {
		case ctx.Err() != nil:
		case err == nil && status.Message == "":
			leave(errLeft)
		default:
			fmt.Fprintf(a.stderr, "\r\nbanger: no shell is on the console: %s\r\n", clean(why(status, err)))
		}
	})
	_, err = io.Copy(a.stdout, line)
	switch {
	case errors.Is(context.Cause(ctx), errLeft):
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil: // the VM's end
		fmt.Fprint(a.stderr, "\r\n")
	}
	return err
}

func why(status exec.Status, err error) string {
	if err != nil {
		return err.Error()
	}
	return status.Message
}

// consoleShell runs a shell on the console; what it says is shown there.
func (a *app) consoleShell(ctx context.Context, where api.Session, t *terminal) (exec.Status, error) {
	s, err := session.Dial(ctx, where.Socket, channel.PortExec)
	if err != nil {
		return exec.Status{}, err
	}
	req := exec.Request{Console: true, Size: t.size(), Env: terminalEnv()}
	return session.Run(ctx, s, session.Options{Request: req, Stdout: io.Discard, Stderr: io.Discard, Sizes: t.changes()})
}

// typeKeys types what in has on line until the escape, and reports whether it came.
func typeKeys(line io.Writer, in io.Reader) bool {
	b := make([]byte, 1<<10)
	for {
		n, err := in.Read(b)
		keys, _, escaped := bytes.Cut(b[:n], []byte{consoleEscape})
		if len(keys) > 0 {
			if _, err := line.Write(keys); err != nil {
				return false
			}
		}
		if escaped || err != nil {
			return escaped
		}
	}
}
