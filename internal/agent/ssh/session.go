package ssh

import (
	"io"
	"net"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"banger/internal/agent/command"
	"banger/internal/agent/sftp"
	"banger/internal/channel/exec"
)

// maxEnviron bounds the variables of one session, in bytes: far below the kernel's limit
// for all that a program begins with.
const maxEnviron = 64 << 10

// session is one channel of the type session (RFC 4254, 6), and a command.Client.
type session struct {
	ssh.Channel
	req     exec.Request
	line    *string // a shell's command line; nil for what req says
	modes   []byte  // of the client's terminal, as they are encoded
	environ int     // bytes in req.Env
	events  chan command.Event
	over    chan struct{} // closed by Close
	once    sync.Once
}

// session runs one, which ends with its channel.
func (s *Service) session(user string, n ssh.NewChannel) {
	ch, requests, err := n.Accept()
	if err != nil {
		return
	}
	c := &session{Channel: ch, events: make(chan command.Event), over: make(chan struct{})}
	defer c.Close()
	if user != "root" { // whom an image without users has too
		c.req.User = user
	}
	c.req.OrHome = true
	for _, v := range origin() {
		c.req.Env = append(c.req.Env, []byte(v))
	}
	var running sync.WaitGroup
	defer running.Wait()
	defer close(c.events) // the client is gone
	started := false
	for r := range requests {
		var ok, run bool
		if started {
			ok = c.pass(r)
		} else {
			ok, run = c.prepare(r)
		}
		if r.WantReply {
			r.Reply(ok, nil)
		}
		if run {
			started = true
			running.Go(func() { c.run(s.Command) }) // ends with the process, which ends with the channel
		}
	}
}

// origin is where a session comes from, as ssh(1) lists it in its section on the
// environment: programs see by the variables that they run under SSH, and take addresses out of
// them. In a guest with banger's network the client is the host as the guest knows it, in
// others it is the guest's loopback. The client's port is none that a connection has.
func origin() []string {
	client, server := "127.0.0.1", "127.0.0.1"
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.String() == guestAddr {
			client, server = hostAddr, guestAddr
		}
	}
	return []string{"SSH_CLIENT=" + client + " 65535 22", "SSH_CONNECTION=" + client + " 65535 " + server + " 22"}
}

// The guest's address in banger's network, and that of its host.
const (
	guestAddr = "10.0.2.15"
	hostAddr  = "10.0.2.2"
)

// run runs the process that the client has asked for.
func (c *session) run(s *command.Service) {
	if c.line != nil {
		var err error
		if c.req.Argv, err = command.ShellArgs(c.req.User, *c.line); err != nil {
			c.Ended(exec.Status{Kind: exec.Failed, Message: err.Error()})
			c.Close()
			return
		}
	}
	s.Run(c.req, command.Terminal{Variable: "SSH_TTY", Change: func(t *unix.Termios) { applyModes(t, c.modes) }}, c)
}

// prepare takes a request that comes before the process. run says that the process is to
// be started now.
func (c *session) prepare(r *ssh.Request) (ok, run bool) {
	switch r.Type {
	case "env":
		var v struct{ Name, Value string }
		if ssh.Unmarshal(r.Payload, &v) != nil {
			return false, false
		}
		return c.setenv(v.Name, v.Value), false
	case "pty-req":
		var p struct {
			Term                      string
			Cols, Rows, Width, Height uint32
			Modes                     string
		}
		if ssh.Unmarshal(r.Payload, &p) != nil || !c.setenv("TERM", p.Term) {
			return false, false
		}
		c.req.TTY, c.req.Size, c.modes = true, size(p.Cols, p.Rows), []byte(p.Modes)
		return true, false
	case "shell":
		return true, true
	case "exec":
		var e struct{ Command string }
		if ssh.Unmarshal(r.Payload, &e) != nil {
			return false, false
		}
		c.line = &e.Command
		return true, true
	case "subsystem":
		var sub struct{ Name string }
		if ssh.Unmarshal(r.Payload, &sub) != nil || sub.Name != "sftp" {
			return false, false
		}
		c.req.Agent, c.req.Argv, c.req.TTY = true, exec.Args(sftp.Program), false
		return true, true
	}
	return false, false // an SSH agent, X11
}

// setenv takes a variable for the process. The host's locale is left out, because an
// image need not have it.
func (c *session) setenv(name, value string) bool {
	c.environ += len(name) + len(value)
	if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") || c.environ > maxEnviron {
		return false
	}
	if isLocale(name) && value != "C" && value != "POSIX" && value != "C.UTF-8" {
		return true
	}
	c.req.Env = append(c.req.Env, []byte(name+"="+value))
	return true
}

// isLocale reports whether a variable is one of locale(7).
func isLocale(name string) bool {
	switch strings.TrimPrefix(name, "LC_") {
	case "LANG", "LANGUAGE", "ALL", "ADDRESS", "COLLATE", "CTYPE", "IDENTIFICATION", "MEASUREMENT", "MESSAGES", "MONETARY", "NAME", "NUMERIC", "PAPER", "TELEPHONE", "TIME":
		return strings.HasPrefix(name, "L")
	}
	return false
}

// pass takes a request of a running process.
func (c *session) pass(r *ssh.Request) bool {
	switch r.Type {
	case "window-change":
		var w struct{ Cols, Rows, Width, Height uint32 }
		return ssh.Unmarshal(r.Payload, &w) == nil && c.tell(command.Event{Size: size(w.Cols, w.Rows)})
	case "signal":
		var s struct{ Name string }
		if ssh.Unmarshal(r.Payload, &s) != nil {
			return false
		}
		n := unix.SignalNum("SIG" + s.Name)
		return n > 0 && c.tell(command.Event{Signal: n})
	}
	return false
}

// tell passes an event on, unless the process has ended.
func (c *session) tell(e command.Event) bool {
	select {
	case c.events <- e:
		return true
	case <-c.over:
		return false
	}
}

// size bounds a terminal's.
func size(cols, rows uint32) exec.Size {
	const most = 1<<16 - 1
	return exec.Size{Rows: uint16(min(rows, most)), Cols: uint16(min(cols, most))}
}

// Output implements command.Client.
func (c *session) Output(t exec.Type) io.Writer {
	if t == exec.TypeStderr {
		return c.Stderr()
	}
	return c
}

// Events implements command.Client.
func (c *session) Events() <-chan command.Event { return c.events }

// signals are those that a client may be told of (RFC 4254, 6.10).
var signals = map[syscall.Signal]string{
	unix.SIGABRT: "ABRT", unix.SIGALRM: "ALRM", unix.SIGFPE: "FPE", unix.SIGHUP: "HUP", unix.SIGILL: "ILL", unix.SIGINT: "INT", unix.SIGKILL: "KILL",
	unix.SIGPIPE: "PIPE", unix.SIGQUIT: "QUIT", unix.SIGSEGV: "SEGV", unix.SIGTERM: "TERM", unix.SIGUSR1: "USR1", unix.SIGUSR2: "USR2",
}

// Ended implements command.Client.
func (c *session) Ended(s exec.Status) {
	message := s.Message
	if s.OutOfMemory > 0 {
		message = "the guest ran out of memory, and its kernel killed a process of the command"
	}
	if message != "" {
		end := "\n"
		if c.req.TTY {
			end = "\r\n"
		}
		io.WriteString(c.Stderr(), "banger: "+message+end)
	}
	c.CloseWrite()
	name, known := signals[syscall.Signal(s.Signal)]
	if s.Kind == exec.Signalled && known {
		c.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Name          string
			Dumped        bool
			Message, Lang string
		}{Name: name, Message: message}))
		return
	}
	c.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(s.ExitCode())}))
}

// Close implements command.Client.
func (c *session) Close() error {
	c.once.Do(func() { close(c.over) })
	return c.Channel.Close()
}
