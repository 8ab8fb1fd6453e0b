package session

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"banger/internal/channel"
	"banger/internal/channel/exec"
	"banger/internal/hint"
	"banger/internal/unixsock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// supervisor serves one connection on a socket.
func supervisor(t *testing.T, serve func(c net.Conn, r *bufio.Reader, req *http.Request)) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := unixsock.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends with l.Close, or its one connection
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		r := bufio.NewReader(c)
		if req, err := http.ReadRequest(r); err == nil {
			serve(c, r, req)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return socket
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + Upgrade + "\r\n" + Header + ": 3\r\n\r\n"

// What a supervisor sends together with its answer is the stream's beginning, and
// what comes later follows it.
func TestDial(t *testing.T) {
	const first, then = "first ", "then"
	socket := supervisor(t, func(c net.Conn, r *bufio.Reader, req *http.Request) {
		if got := req.Header.Get(Header); got != fmt.Sprint(Protocol) {
			t.Errorf("the dial's %s is %q, want %d", Header, got, Protocol)
		}
		if got := req.URL.RequestURI(); got != "/v1/dial?port=1001" {
			t.Errorf("the dial asks for %q", got)
		}
		io.WriteString(c, switching+first)
		io.ReadFull(r, make([]byte, 3))
		io.WriteString(c, then)
	})
	s, err := Dial(t.Context(), socket, channel.PortControl)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got := make([]byte, len(first))
	if _, err := io.ReadFull(s, got); err != nil || string(got) != first {
		t.Errorf("read %q, %v; want %q", got, err, first)
	}
	io.WriteString(s, "go!")
	if rest, err := io.ReadAll(s); err != nil || string(rest) != then {
		t.Errorf("read %q, %v; want %q", rest, err, then)
	}
}

// Nothing is lost when a stream is copied to a file, which the kernel may do by itself.
func TestDialCopied(t *testing.T) {
	socket := supervisor(t, func(c net.Conn, _ *bufio.Reader, _ *http.Request) {
		io.WriteString(c, switching+"first ")
		io.WriteString(c, "then")
	})
	s, err := Dial(t.Context(), socket, channel.PortSSH)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, err = io.Copy(w, s)
	w.Close()
	if got, rerr := io.ReadAll(r); err != nil || rerr != nil || string(got) != "first then" {
		t.Errorf("Copy gives %q, %v, %v", got, err, rerr)
	}
}

func TestRefusal(t *testing.T) {
	for _, test := range []struct {
		body                string
		code, message, hint string
	}{
		{`{"code":"state","message":"VM \"a\" is not ready","hint":"wait"}`, "state", `VM "a" is not ready`, "wait"},
		{`{"code":"state","message":"no"}`, "state", "no", ""},
		{`{"code":"state"}`, "state", "dial the guest: 409 Conflict", ""},
		{"<html>", "", "dial the guest: 409 Conflict", ""},
		{"", "", "dial the guest: 409 Conflict", ""},
	} {
		socket := supervisor(t, func(c net.Conn, _ *bufio.Reader, _ *http.Request) {
			fmt.Fprintf(c, "HTTP/1.1 409 Conflict\r\nContent-Length: %d\r\n\r\n%s", len(test.body), test.body)
		})
		_, err := Dial(t.Context(), socket, channel.PortExec)
		var r *Refusal
		if !errors.As(err, &r) || r.Code != test.code || err.Error() != test.message || hint.Of(err) != test.hint {
			t.Errorf("Dial answered with %q = %#v, hint %q; want code %q, message %q, hint %q", test.body, err, hint.Of(err), test.code, test.message, test.hint)
		}
	}
}

// A caller who gives up while the guest does not answer gets its context's error.
func TestDialCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	socket := supervisor(t, func(_ net.Conn, r *bufio.Reader, _ *http.Request) {
		cancel()
		io.Copy(io.Discard, r) // until the client closes
	})
	if _, err := Dial(ctx, socket, channel.PortExec); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial = %v, want context.Canceled", err)
	}
}

// process runs a process whose guest writes what write says, then status.
func process(t *testing.T, write func(w *exec.Writer), status exec.Status) (out, errs string, got exec.Status, err error) {
	t.Helper()
	socket := supervisor(t, func(c net.Conn, r *bufio.Reader, _ *http.Request) {
		io.WriteString(c, switching)
		if _, err := exec.NewReader(r).ReadRequest(); err != nil {
			t.Error(err)
			return
		}
		w := exec.NewWriter(c)
		write(w)
		if status.Kind != "" {
			w.WriteStatus(status)
			io.Copy(io.Discard, r)
		}
	})
	s, err := Dial(t.Context(), socket, channel.PortExec)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	got, err = Run(t.Context(), s, Options{Request: exec.Request{Argv: exec.Args("x")}, Stdin: strings.NewReader("in"), Stdout: &stdout, Stderr: &stderr})
	return stdout.String(), stderr.String(), got, err
}

func TestRun(t *testing.T) {
	large := bytes.Repeat([]byte("x"), exec.MaxData)
	out, errs, status, err := process(t, func(w *exec.Writer) {
		w.Write(exec.TypeStdout, large)
		w.Write(exec.TypeStderr, []byte("e"))
		w.Write(exec.TypeStdout, []byte("end"))
	}, exec.Status{Kind: exec.Exited, Code: 3})
	if err != nil || out != string(large)+"end" || errs != "e" || status.ExitCode() != 3 {
		t.Errorf("Run = %+v, %v with %d bytes of stdout, stderr %q; want status 3, %d bytes, e", status, err, len(out), errs, len(large)+3)
	}
}

func TestBroken(t *testing.T) {
	if _, _, _, err := process(t, func(*exec.Writer) {}, exec.Status{}); !errors.Is(err, ErrBroken) {
		t.Errorf("Run whose stream ends = %v, want ErrBroken", err)
	}
}

// What an agent of an earlier version would leave out without a word is refused, and
// nothing is asked of it. A supervisor of an earlier version does not say which one
// it is.
func TestOldAgent(t *testing.T) {
	user := exec.Request{Argv: exec.Args("id"), User: "alice"}
	for _, test := range []struct {
		says    string
		request exec.Request
		old     bool
	}{
		{"", user, true},
		{AgentHeader + ": 1\r\n", user, true},
		{AgentHeader + ": 1\r\n", exec.Request{Console: true}, true},
		{AgentHeader + ": 2\r\n", user, false},
		{"", exec.Request{Argv: exec.Args("id"), Env: exec.Args("A=1"), Dir: []byte("/"), TTY: true}, false},
	} {
		asked := make(chan int, 1)
		socket := supervisor(t, func(c net.Conn, r *bufio.Reader, _ *http.Request) {
			io.WriteString(c, strings.TrimSuffix(switching, "\r\n")+test.says+"\r\n")
			first, _ := r.Peek(1)
			asked <- len(first)
			if len(first) > 0 {
				exec.NewWriter(c).WriteStatus(exec.Status{Kind: exec.Exited})
			}
			io.Copy(io.Discard, r)
		})
		s, err := Dial(t.Context(), socket, channel.PortExec)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Run(t.Context(), s, Options{Request: test.request})
		var old *OldAgentError
		if errors.As(err, &old) != test.old || (err != nil) != test.old {
			t.Errorf("Run of %+v, where %q is said = %v; want refusal %v", test.request, test.says, err, test.old)
		}
		if test.old && <-asked > 0 {
			t.Errorf("%+v was asked of an old agent", test.request)
		}
	}
}

// What a supervisor says of its guest's silence is passed on, and its own end ends that.
func TestWatch(t *testing.T) {
	socket := supervisor(t, func(c net.Conn, _ *bufio.Reader, req *http.Request) {
		if req.URL.Path != "/v1/events" {
			t.Errorf("Watch asks for %q", req.URL.Path)
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"+`{"protocol":2,"phase":"ready"}{"silent":"it sleeps"}{"held":"no room"}{"agent_protocol":2}`)
	})
	var got []string
	err := Watch(t.Context(), socket, func(silent string) { got = append(got, silent) })
	if want := []string{"", "it sleeps", "no room", ""}; !slices.Equal(got, want) || err == nil || errors.Is(err, ErrSilent) {
		t.Errorf("Watch heard %q and ended with %v; want %q, and an error", got, err, want)
	}
}
