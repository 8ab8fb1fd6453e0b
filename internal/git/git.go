// Package git runs git and reads what it says. It knows no repository: which one,
// with which settings and in which environment, is the caller's to say.
package git

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ErrMissing says that there is no git in PATH.
var ErrMissing = errors.New("git is not in PATH")

// killDelay is how long git may take to end after its caller gave up.
const killDelay = 2 * time.Second

// Git is how git is run. It is a value: a copy with another Env is another one.
type Git struct {
	Dir      string   // the working directory
	Settings []string // KEY=VALUE, which go before every file's (git -c)
	Env      []string // the whole environment
	// Memory bounds the address space of git and of what it starts, in bytes; 0 is no
	// bound. A git that needs more fails, with ENOMEM.
	Memory uint64
}

// Error is a git that ended with a status other than 0.
type Error struct {
	Args   []string
	Err    error
	Stderr string // its end, not escaped
}

func (e *Error) Error() string {
	text := fmt.Sprintf("git %s: %v", e.command(), e.Err)
	if e.Stderr != "" {
		text += ": " + e.Stderr
	}
	return text
}

// command is the name of git's command, which may come after settings (-c).
func (e *Error) command() string {
	args := e.Args
	for len(args) > 2 && args[0] == "-c" {
		args = args[2:]
	}
	return args[0]
}

func (e *Error) Unwrap() error { return e.Err }

// Status is the command's exit status; -1 if it had none.
func (e *Error) Status() int {
	var exit *exec.ExitError
	if errors.As(e.Err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// Stream runs a command with stdin from in, which may be nil, and stdout to out.
func (g Git) Stream(ctx context.Context, in io.Reader, out io.Writer, args ...string) error {
	cmd, errs := g.command(ctx, in, args)
	cmd.Stdout = out
	return explain(args, cmd.Run(), errs)
}

// Run returns a command's output.
func (g Git) Run(ctx context.Context, in io.Reader, args ...string) ([]byte, error) {
	var out bytes.Buffer
	err := g.Stream(ctx, in, &out, args...)
	return out.Bytes(), err
}

// Line returns a command's output without the newline at its end.
func (g Git) Line(ctx context.Context, in io.Reader, args ...string) (string, error) {
	out, err := g.Run(ctx, in, args...)
	return strings.TrimSuffix(string(out), "\n"), err
}

// Read has do read a command's output. An error of do ends the command.
func (g Git) Read(ctx context.Context, in io.Reader, do func(*bufio.Reader) error, args ...string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd, errs := g.command(ctx, in, args)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return explain(args, err, errs)
	}
	if err := do(bufio.NewReaderSize(out, 64<<10)); err != nil {
		cancel()
		cmd.Wait()
		return err
	}
	return explain(args, cmd.Wait(), errs)
}

// Names passes on what a command lists, each ended by NUL (-z). The name is the
// callee's to keep.
func (g Git) Names(ctx context.Context, in io.Reader, each func(name []byte) error, args ...string) error {
	return g.Read(ctx, in, func(r *bufio.Reader) error {
		for {
			name, err := r.ReadBytes(0)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err == nil {
				err = each(name[:len(name)-1])
			}
			if err != nil {
				return err
			}
		}
	}, args...)
}

// Here goes before a path for a command that takes patterns: a ":" at its beginning would
// be the beginning of one, and check-ignore knows no --literal-pathspecs.
const Here = "./"

// Ignored returns those of paths that the repository ignores, though it may track them. A
// directory's path may end with a slash. With one, check-ignore would ask the .gitignore in
// the directory about it.
func (g Git) Ignored(ctx context.Context, paths []string) (map[string]bool, error) {
	var in bytes.Buffer
	for _, name := range paths {
		in.WriteString(Here + strings.TrimSuffix(name, "/") + "\x00")
	}
	said := map[string]bool{}
	err := g.Names(ctx, &in, func(name []byte) error {
		said[strings.TrimPrefix(string(name), Here)] = true
		return nil
	}, "check-ignore", "-z", "--no-index", "--stdin")
	var failed *Error
	if errors.As(err, &failed) && failed.Status() == 1 { // it ignores none
		err = nil
	}
	ignored := map[string]bool{}
	for _, name := range paths {
		if said[strings.TrimSuffix(name, "/")] {
			ignored[name] = true
		}
	}
	return ignored, err
}

func (g Git) command(ctx context.Context, in io.Reader, args []string) (*exec.Cmd, *tail) {
	all := make([]string, 0, 2*len(g.Settings)+len(args))
	for _, s := range g.Settings {
		all = append(all, "-c", s)
	}
	name, all := program(), append(all, args...)
	if g.Memory > 0 && filepath.IsAbs(name) { // else git is missing, which the start tells
		// Set before git begins, so that it allocates nothing without it. A lower one stays.
		all = append([]string{"-c", fmt.Sprintf(`ulimit -v %d 2>/dev/null; exec "$0" "$@"`, g.Memory>>10), name}, all...)
		name = "/bin/sh"
	}
	cmd := exec.CommandContext(ctx, name, all...)
	errs := &tail{}
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stderr, cmd.WaitDelay = g.Dir, g.Env, in, errs, killDelay
	return cmd, errs
}

// usual are where git is, if PATH does not say: a daemon may have been started by a
// command with none.
var usual = []string{"/usr/bin/git", "/usr/local/bin/git", "/bin/git"}

// program is the path of git, or "git", whose absence the start then tells.
func program() string {
	if path, err := exec.LookPath("git"); err == nil {
		return path
	}
	for _, path := range usual {
		if _, err := exec.LookPath(path); err == nil {
			return path
		}
	}
	return "git"
}

// explain is a command's error in words.
func explain(args []string, err error, errs *tail) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrNotFound):
		return ErrMissing
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGPIPE {
			err = syscall.EPIPE // who reads its output has left
		}
	}
	text := strings.TrimSpace(string(errs.text))
	if strings.Contains(text, "No space left on device") || strings.Contains(text, "Out of diskspace") {
		err = fmt.Errorf("%w: %w", err, syscall.ENOSPC) // its own status does not tell
	}
	if strings.Contains(text, "Out of memory") || strings.Contains(text, "out of memory") || strings.Contains(text, "Cannot allocate memory") {
		err = fmt.Errorf("%w: %w", err, syscall.ENOMEM)
	}
	return &Error{args, err, text}
}

// tail keeps the last bytes that a program says.
type tail struct{ text []byte }

// maxTail bounds them.
const maxTail = 2 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if n := len(t.text) - maxTail; n > 0 {
		t.text = append(t.text[:0], t.text[n:]...)
	}
	return len(p), nil
}

// Quote writes a path as git's lists of directories take it
// (GIT_ALTERNATE_OBJECT_DIRECTORIES, objects/info/alternates): in C quotes.
func Quote(path string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(path) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&b, "\\%03o", c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
