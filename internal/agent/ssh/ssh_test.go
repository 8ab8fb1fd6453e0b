package ssh

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"banger/internal/agent/command"
	"banger/internal/agent/sftp"
)

// patience bounds a wait for what comes in milliseconds.
const patience = 30 * time.Second

// agentProgram is the argv[0] by which this test's program is the agent's.
const agentProgram = "banger-agent-of-a-test"

func TestMain(m *testing.M) {
	if os.Args[0] == agentProgram && len(os.Args) == 2 && os.Args[1] == sftp.Program {
		home, _ := os.UserHomeDir()
		if err := sftp.Run(context.Background(), nil, home, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP) // as in package command's tests
	os.Exit(m.Run())
}

// key is a new one: private as a file has it, and public as a line.
func key(t *testing.T) (private []byte, public string) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		t.Fatal(err)
	}
	p, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(p)))
}

// server is a service that answers on a port of the loopback.
type server struct {
	*Service
	addr               string
	host, client, home string
	private            []byte
}

func serve(t *testing.T) *server {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) }) // after the rest
	s := &server{home: t.TempDir()}
	s.Service = &Service{Command: &command.Service{Agent: []string{agentProgram}, Env: []string{"HOME=" + s.home, "SHELL=/bin/sh"}}}
	hostKey, host := key(t)
	s.host = host
	s.private, s.client = key(t)
	if err := s.Identify(hostKey, []string{s.client}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	served := make(chan struct{})
	go func() { // ends with l
		defer close(served)
		s.Serve(l)
	}()
	t.Cleanup(func() {
		l.Close()
		<-served
		for end := time.Now().Add(patience); s.Command.Running() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Errorf("%d processes are left", s.Command.Running())
				break
			}
		}
	})
	return s
}

func (s *server) dial(t *testing.T, private []byte) (*ssh.Client, error) {
	t.Helper()
	signer, err := ssh.ParsePrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	host, _, _, _, err := ssh.ParseAuthorizedKey([]byte(s.host))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ssh.Dial("tcp", s.addr, &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(host), Timeout: patience,
	})
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func (s *server) connect(t *testing.T) *ssh.Client {
	t.Helper()
	c, err := s.dial(t, s.private)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newSession(t *testing.T, c *ssh.Client) *ssh.Session {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestKeys(t *testing.T) {
	s := serve(t)
	other, _ := key(t)
	if _, err := s.dial(t, other); err == nil {
		t.Error("a key that is not banger's logs in")
	}
	if _, err := ssh.Dial("tcp", s.addr, &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{ssh.Password("")}, HostKeyCallback: ssh.InsecureIgnoreHostKey()}); err == nil {
		t.Error("a password logs in")
	}
	s.connect(t)
	// Another identity, as after a restart of the VM.
	host, line := key(t)
	if err := s.Identify(host, []string{s.client}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.dial(t, s.private); err == nil {
		t.Error("a host key that is not the pinned one is taken")
	}
	s.host = line
	s.connect(t)
	for _, bad := range [][]byte{nil, []byte("no key"), host[:len(host)/2]} {
		if err := s.Identify(bad, []string{s.client}); err == nil {
			t.Errorf("Identify(%q) = nil, want an error", bad)
		}
	}
	if err := s.Identify(host, []string{"ssh-ed25519 AAAA"}); err == nil {
		t.Error("Identify with a client's key that is none = nil, want an error")
	}
	s.connect(t) // nothing has changed
}

func TestCommands(t *testing.T) {
	s := serve(t)
	c := s.connect(t)
	for name, test := range map[string]struct {
		line, stdin         string
		env                 [2]string
		stdout, stderr, end string
	}{
		"status":                        {line: "exit 42", end: "42"},
		"both outputs":                  {line: "echo out; echo err >&2", stdout: "out\n", stderr: "err\n"},
		"input to its end":              {line: "cat; echo end", stdin: "some", stdout: "someend\n"},
		"a signal":                      {line: "kill -TERM $$", end: "TERM"},
		"one without name":              {line: "kill -STKFLT $$", end: "144"},
		"at home":                       {line: "pwd", stdout: s.home + "\n"},
		"not there":                     {line: "/no/such/program", end: "127"},
		"a variable":                    {line: "echo $A", env: [2]string{"A", "b c"}, stdout: "b c\n"},
		"the host's locale is left out": {line: "echo $LC_ALL", env: [2]string{"LC_ALL", "de_DE.UTF-8"}, stdout: "\n"},
		"under ssh":                     {line: "set -- $SSH_CONNECTION; echo $# $2 $4; test \"$SSH_CLIENT\" = \"$1 $2 $4\"; echo $SSH_TTY", stdout: "4 65535 22\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			ses := newSession(t, c)
			var stdout, stderr bytes.Buffer
			ses.Stdin, ses.Stdout, ses.Stderr = strings.NewReader(test.stdin), &stdout, &stderr
			if test.env[0] != "" {
				if err := ses.Setenv(test.env[0], test.env[1]); err != nil {
					t.Fatal(err)
				}
			}
			end := ""
			var exit *ssh.ExitError
			if err := ses.Run(test.line); errors.As(err, &exit) {
				if end = exit.Signal(); end == "" {
					end = fmt.Sprint(exit.ExitStatus())
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if end != test.end || stdout.String() != test.stdout || end != "127" && stderr.String() != test.stderr {
				t.Errorf("Run(%q) = %q, stdout %q, stderr %q; want %q, %q, %q", test.line, end, stdout.String(), stderr.String(), test.end, test.stdout, test.stderr)
			}
		})
	}
}

func TestTerminal(t *testing.T) {
	s := serve(t)
	ses := newSession(t, s.connect(t))
	in, err := ses.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := ses.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := ses.RequestPty("xterm", 24, 80, ssh.TerminalModes{}); err != nil {
		t.Fatal(err)
	}
	if err := ses.Start("trap 'echo interrupted; exit 3' INT; stty size; until stty size | grep -q '50 132'; do sleep 0.01; done; echo resized; while :; do sleep 0.01; done"); err != nil {
		t.Fatal(err)
	}
	var seen []byte
	until := func(want string) {
		t.Helper()
		b := make([]byte, 1<<10)
		for !bytes.Contains(seen, []byte(want)) {
			n, err := out.Read(b)
			if err != nil {
				t.Fatalf("the terminal shows %q, want %q: %v", seen, want, err)
			}
			seen = append(seen, b[:n]...)
		}
	}
	until("24 80")
	if err := ses.WindowChange(50, 132); err != nil {
		t.Fatal(err)
	}
	until("resized")
	io.WriteString(in, "\x03")
	until("interrupted")
	var exit *ssh.ExitError
	if err := ses.Wait(); !errors.As(err, &exit) || exit.ExitStatus() != 3 {
		t.Errorf("Wait() = %v, want status 3", err)
	}
}

// A command ends with its client, however it left its input, and hears its signals.
func TestEnds(t *testing.T) {
	s := serve(t)
	c := s.connect(t)
	startEndless(t, c, "sleep 1000")
	c.Close() // serve's clean-up waits for the process

	c = s.connect(t)
	ses := startEndless(t, c, "exec sleep 1000")
	if err := ses.Signal(ssh.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var exit *ssh.ExitError
	if err := ses.Wait(); !errors.As(err, &exit) || exit.Signal() != "TERM" {
		t.Errorf("Wait() = %v, want SIGTERM", err)
	}
	// The connection goes on.
	if out, err := newSession(t, c).Output("echo on"); err != nil || string(out) != "on\n" {
		t.Errorf("Output = %q, %v", out, err)
	}
}

// startEndless starts a command with input without end, which it does not take.
func startEndless(t *testing.T, c *ssh.Client, line string) *ssh.Session {
	t.Helper()
	ses := newSession(t, c)
	in, err := ses.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := ses.Start(line); err != nil {
		t.Fatal(err)
	}
	var giving sync.WaitGroup
	giving.Go(func() { io.Copy(in, &endless{}) }) // ends with the session
	t.Cleanup(giving.Wait)
	t.Cleanup(func() { c.Close() })
	return ses
}

type endless struct{}

func (*endless) Read(p []byte) (int, error) { return len(p), nil }

func TestRefused(t *testing.T) {
	s := serve(t)
	c := s.connect(t)
	ses := newSession(t, c)
	for _, kind := range []string{"auth-agent-req@openssh.com", "x11-req", "nonsense"} {
		if ok, err := ses.SendRequest(kind, true, nil); ok || err != nil {
			t.Errorf("request %s = %v, %v; want a refusal", kind, ok, err)
		}
	}
	for _, kind := range []string{"pty-req", "env", "exec", "subsystem"} {
		if ok, err := ses.SendRequest(kind, true, []byte{0, 0, 0, 9, 1}); ok || err != nil {
			t.Errorf("request %s that is cut = %v, %v; want a refusal", kind, ok, err)
		}
	}
	if err := ses.RequestSubsystem("netconf"); err == nil {
		t.Error("an unknown subsystem is started")
	}
	for _, v := range [][2]string{{"", "x"}, {"A=B", "x"}, {"A", "x\x00y"}, {"A", strings.Repeat("x", maxEnviron)}} {
		if err := ses.Setenv(v[0], v[1]); err == nil {
			t.Errorf("Setenv(%q, %.9q) = nil, want a refusal", v[0], v[1])
		}
	}
	if _, err := c.Listen("tcp", "127.0.0.1:0"); err == nil {
		t.Error("the guest listens for its client")
	}
	for _, addr := range []string{"192.0.2.1:80", "example.org:80", "0.0.0.0:80", "[2001:db8::1]:80", "localhost.example.org:80", "127.0.0.1.example.org:80"} {
		if conn, err := c.Dial("tcp", addr); err == nil {
			conn.Close()
			t.Errorf("Dial(%s) = nil, want a refusal", addr)
		} else if !strings.Contains(err.Error(), "loopback only") {
			t.Errorf("Dial(%s) = %v", addr, err)
		}
	}
}

func TestForward(t *testing.T) {
	s := serve(t)
	c := s.connect(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var answering sync.WaitGroup
	defer answering.Wait()
	answering.Go(func() { // ends with its one connection
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		all, _ := io.ReadAll(conn) // to the client's half-close
		fmt.Fprintf(conn, "%d bytes", len(all))
	})
	_, port, _ := net.SplitHostPort(l.Addr().String())
	conn, err := c.Dial("tcp", "localhost:"+port)
	if err != nil {
		t.Fatal(err)
	}
	const size = 3 << 20
	if _, err := io.CopyN(conn, &endless{}, size); err != nil {
		t.Fatal(err)
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != fmt.Sprintf("%d bytes", size) {
		t.Errorf("the server's answer = %q, %v", got, err)
	}
	conn.Close()
	l.Close()
	if conn, err := c.Dial("tcp", "127.0.0.1:"+port); err == nil {
		conn.Close()
		t.Error("a port at which nothing listens is connected")
	}
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]string{
		"localhost": "127.0.0.1 ::1", "LocalHost.": "127.0.0.1 ::1", "127.0.0.1": "127.0.0.1", "127.1.2.3": "127.1.2.3", "::1": "::1", "::ffff:127.0.0.1": "127.0.0.1",
		"": "", "0.0.0.0": "", "::": "", "127.1": "", "0x7f000001": "", "::1%lo": "", "localhost.localdomain": "", "10.0.0.1": "",
	} {
		if got := strings.Join(loopback(host), " "); got != want {
			t.Errorf("loopback(%q) = %q, want %q", host, got, want)
		}
	}
}

// twenty sessions at once, on one connection each and on one together.
func TestManySessions(t *testing.T) {
	s := serve(t)
	one := s.connect(t)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			c := one
			if i%2 == 0 {
				c = s.connect(t)
			}
			ses, err := c.NewSession()
			if err != nil {
				t.Error(err)
				return
			}
			defer ses.Close()
			ses.Stdin = strings.NewReader(fmt.Sprint("session ", i))
			want := fmt.Sprint("session ", i)
			if out, err := ses.Output("cat"); err != nil || string(out) != want {
				t.Errorf("session %d: %q, %v", i, out, err)
			}
		})
	}
	all.Wait()
}

// files writes the client's configuration of OpenSSH for s, and returns its options.
func (s *server) files(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	host, port, _ := net.SplitHostPort(s.addr)
	for name, text := range map[string]string{
		"key":   string(s.private),
		"known": fmt.Sprintf("vm %s\n", s.host),
		"config": fmt.Sprintf("Host vm\n HostName %s\n Port %s\n User root\n HostKeyAlias vm\n IdentityFile %s/key\n IdentitiesOnly yes\n IdentityAgent none\n UserKnownHostsFile %s/known\n"+
			" GlobalKnownHostsFile /dev/null\n StrictHostKeyChecking yes\n LogLevel ERROR\n", host, port, dir, dir),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"-F", filepath.Join(dir, "config")}
}
