package command

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"banger/internal/channel/exec"
)

// patience bounds a wait for what comes in milliseconds.
const patience = 20 * time.Second

// session is the host's end of one with a service of its own.
type session struct {
	*exec.Writer
	conn net.Conn
	in   *exec.Reader
	// What came so far.
	stdout, stderr []byte
}

// open starts a session over a real socket, in a directory that is there
// wherever the test runs.
func open(t *testing.T, req exec.Request) *session {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) }) // after the rest
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	var s Service
	served := make(chan struct{})
	go func() { // ends with l
		defer close(served)
		s.Serve(l)
	}()
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() {
		conn.Close()
		l.Close()
		<-served
		for end := time.Now().Add(patience); s.Running() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Errorf("%d processes are left", s.Running())
				break
			}
		}
	})
	if req.Dir == nil {
		req.Dir = []byte("/")
	}
	c := &session{Writer: exec.NewWriter(conn), conn: conn, in: exec.NewReader(conn)}
	if err := c.WriteRequest(req); err != nil {
		t.Fatal(err)
	}
	return c
}

func sh(script string, words ...string) exec.Request {
	return exec.Request{Argv: exec.Args(append([]string{"sh", "-c", script, "sh"}, words...)...)}
}

// until reads frames until stdout has want, or the status, which is returned.
func (c *session) until(t *testing.T, want string) *exec.Status {
	t.Helper()
	for want == "" || !bytes.Contains(c.stdout, []byte(want)) {
		typ, p, err := c.in.Next()
		if err != nil {
			t.Fatalf("Next: %v; stdout so far %.200q", err, c.stdout)
		}
		switch typ {
		case exec.TypeStdout:
			c.stdout = append(c.stdout, p...)
		case exec.TypeStderr:
			c.stderr = append(c.stderr, p...)
		case exec.TypeExit:
			s, err := exec.ParseStatus(p)
			if err != nil {
				t.Fatal(err)
			}
			return &s
		}
	}
	return nil
}

func (c *session) end(t *testing.T) exec.Status { t.Helper(); return *c.until(t, "") }

func TestExecStatus(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "no-interpreter-line")
	lost, cr := filepath.Join(dir, "lost"), filepath.Join(dir, "cr")
	for name, text := range map[string]string{script: "\x00not a program", lost: "#! /no/such/interpreter -x\n", cr: "#!/bin/sh\r\necho\r\n"} {
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		req  exec.Request
		want exec.Status
	}{
		"zero":           {sh("exit 0"), exec.Status{Kind: exec.Exited}},
		"42":             {sh("exit 42"), exec.Status{Kind: exec.Exited, Code: 42}},
		"signal":         {sh("kill -9 $$"), exec.Status{Kind: exec.Signalled, Signal: 9}},
		"not there":      {exec.Request{Argv: exec.Args("no-such-command")}, exec.Status{Kind: exec.NotFound, Message: "no-such-command: command not found"}},
		"path not there": {exec.Request{Argv: exec.Args("/no/such")}, exec.Status{Kind: exec.NotFound, Message: "/no/such: command not found"}},
		"below a file":   {exec.Request{Argv: exec.Args("/etc/passwd/x")}, exec.Status{Kind: exec.NotFound, Message: "/etc/passwd/x: command not found"}},
		"no name":        {exec.Request{Argv: exec.Args("")}, exec.Status{Kind: exec.NotFound, Message: ": command not found"}},
		"no right":       {exec.Request{Argv: exec.Args("/etc/passwd")}, exec.Status{Kind: exec.NotExecutable, Message: "/etc/passwd: permission denied"}},
		"directory":      {exec.Request{Argv: exec.Args("/etc")}, exec.Status{Kind: exec.NotExecutable, Message: "/etc: is a directory"}},
		"no program":     {exec.Request{Argv: exec.Args(script)}, exec.Status{Kind: exec.NotExecutable, Message: script + ": exec format error"}},
		"interpreter":    {exec.Request{Argv: exec.Args(lost)}, exec.Status{Kind: exec.NotExecutable, Message: lost + `: its interpreter "/no/such/interpreter" is not there`}},
		"CR":             {exec.Request{Argv: exec.Args(cr)}, exec.Status{Kind: exec.NotExecutable, Message: cr + `: its interpreter "/bin/sh\r" is not there: its first line ends with a carriage return, as Windows writes it (sed -i 's/\r$//' mends that)`}},
		"no user":        {exec.Request{Argv: exec.Args("true"), User: "no-such-user"}, exec.Status{Kind: exec.Failed, Message: "user no-such-user is not in /etc/passwd"}},
		"no group":       {exec.Request{Argv: exec.Args("true"), User: "0:no-such-group"}, exec.Status{Kind: exec.Failed, Message: "group no-such-group is not in /etc/group"}},
		"no directory":   {exec.Request{Argv: exec.Args("true"), Dir: []byte("/no/such")}, exec.Status{Kind: exec.Failed, Message: "working directory /no/such is not there"}},
		"NUL in a word":  {exec.Request{Argv: exec.Args("true", "a\x00b")}, exec.Status{Kind: exec.Failed, Message: "true: invalid argument"}},
		"too long":       {exec.Request{Argv: exec.Args("true", strings.Repeat("a", 256<<10))}, exec.Status{Kind: exec.NotExecutable, Message: "true: argument list too long"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := open(t, c.req).end(t); got != c.want {
				t.Errorf("status = %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestExecWordsAndStreams(t *testing.T) {
	req := sh(`printf '<%s>' "$@"; echo err >&2; cat; pwd; echo $MINE $USER`, "", "a b", "\xff$x\n")
	req.Env = exec.Args("MINE=1", "no equals sign", "=no name")
	c := open(t, req)
	in := bytes.Repeat([]byte("0123456\x00"), 1<<17)
	go c.Copy(exec.TypeStdin, bytes.NewReader(in)) // ends when it has been taken
	if got := c.end(t); got != (exec.Status{Kind: exec.Exited}) {
		t.Errorf("status = %+v, want 0", got)
	}
	if want := "<><a b><\xff$x\n>" + string(in) + "/\n1 root\n"; string(c.stdout) != want {
		t.Errorf("stdout has %d bytes, %.40q…, want %d", len(c.stdout), c.stdout, len(want))
	}
	if string(c.stderr) != "err\n" {
		t.Errorf("stderr = %q", c.stderr)
	}
}

// A child that holds the pipe does not hold the session.
func TestExecEndsWithItsProcess(t *testing.T) {
	c := open(t, sh("sleep 1000 & echo $!; exit 3"))
	if got := c.end(t); got.Code != 3 {
		t.Errorf("status = %+v, want 3", got)
	}
	var pid int
	for _, d := range bytes.TrimSpace(c.stdout) {
		pid = pid*10 + int(d-'0')
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the child %d is gone: %v", pid, err)
	}
}

func TestExecSignal(t *testing.T) {
	c := open(t, sh(`trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.01; done`))
	c.until(t, "ready")
	for _, s := range []byte{0, 65, 255, byte(syscall.SIGINT)} { // what is no signal is dropped
		if err := c.Write(exec.TypeSignal, []byte{s}); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.end(t); got.Code != 9 || !strings.Contains(string(c.stdout), "caught") {
		t.Errorf("status = %+v after %q, want 9 and caught", got, c.stdout)
	}
}

func TestExecHostGone(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	for name, script := range map[string]string{
		"hung up": `trap 'echo hup > "$1"; exit' HUP; echo ready; sleep 100 & wait`,
		"killed":  `trap '' HUP; echo $$ > "$1"; echo ready; while :; do sleep 0.01; done`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { // after open's, which waits for the process's end
				if text, err := os.ReadFile(mark); name == "hung up" && string(text) != "hup\n" {
					t.Errorf("%q, %v: the process had no SIGHUP", text, err)
				}
			})
			c := open(t, sh(script, mark))
			c.until(t, "ready")
			c.conn.Close()
		})
	}
}

func TestExecTerminal(t *testing.T) {
	req := sh(`stty size; tty; read x; echo "got $x"; stty size; cat; echo end`)
	req.TTY, req.Size = true, exec.Size{Rows: 24, Cols: 80}
	c := open(t, req)
	c.until(t, "/dev/pts/")
	if err := c.WriteResize(exec.Size{Rows: 50, Cols: 132}); err != nil {
		t.Fatal(err)
	}
	if err := c.Write(exec.TypeStdin, []byte("word\r")); err != nil {
		t.Fatal(err)
	}
	c.until(t, "50 132")
	if err := c.Write(exec.TypeStdin, nil); err != nil { // the end of input, as typed
		t.Fatal(err)
	}
	if got := c.end(t); got != (exec.Status{Kind: exec.Exited}) {
		t.Errorf("status = %+v, want 0", got)
	}
	for _, want := range []string{"24 80\r\n", "got word\r\n", "end\r\n"} {
		if !strings.Contains(string(c.stdout), want) {
			t.Errorf("the terminal shows %q, not %q", c.stdout, want)
		}
	}
}

// What is no request gets a status, and the service goes on.
func TestExecNoRequest(t *testing.T) {
	ours, theirs, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	var s Service
	done := make(chan struct{})
	go func() { // ends with the answer
		defer close(done)
		s.run(theirs)
		theirs.Close()
	}()
	if err := exec.NewWriter(ours).Write(exec.TypeStdin, []byte("x")); err != nil {
		t.Fatal(err)
	}
	typ, p, err := exec.NewReader(ours).Next()
	if err != nil || typ != exec.TypeExit || !bytes.Contains(p, []byte("not a request")) {
		t.Errorf("answer = %q %q, %v", typ, p, err)
	}
	io.Copy(io.Discard, ours)
	<-done
}

func pair() (net.Conn, net.Conn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		ends[i], err = net.FileConn(f)
		f.Close()
		if err != nil {
			return nil, nil, err
		}
	}
	return ends[0], ends[1], nil
}
