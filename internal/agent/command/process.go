package command

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"banger/internal/channel/exec"
)

const (
	// hangup is how long a process has between SIGHUP and SIGKILL when its
	// session's host end is gone.
	hangup = 2 * time.Second
	// pipeSize is the kernel's largest pipe for everybody
	// (/proc/sys/fs/pipe-max-size).
	pipeSize = 1 << 20
)

// process is a running one with our ends of its descriptors. stdin may be the
// same file as stdout: a terminal.
type process struct {
	proc           *os.Process
	stdin          *os.File
	stdout, stderr *os.File
	tty            bool
	group          *group // nil if it has none of its own
}

// self is the running program, whatever its path has become.
const self = "/proc/self/exe"

// start starts what req asks for with env over root's own; without a process
// the status says why. A request of the agent's own program gets agent before its
// arguments.
func start(req exec.Request, env, agent []string, groups *Groups) (*process, exec.Status) {
	env = environment(req, env)
	argv := make([]string, len(req.Argv))
	for i, w := range req.Argv {
		argv[i] = string(w)
	}
	dir := string(req.Dir)
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(getenv(env, "HOME"), dir)
	}
	var path string
	var err error
	if req.Agent {
		path, argv = self, append(slices.Clone(agent), argv...)
	} else if len(argv) == 0 {
		path = getenv(env, "SHELL")
		argv = []string{"-" + filepath.Base(path)}
	} else if path, err = lookPath(argv[0], getenv(env, "PATH"), dir); err != nil {
		return nil, refusal(argv[0], err)
	}
	if fi, err := os.Stat(dir); err != nil || !fi.IsDir() {
		return nil, exec.Status{Kind: exec.Failed, Message: "working directory " + dir + " is not there"}
	}
	p, files, err := pipes(req)
	if err != nil {
		return nil, exec.Status{Kind: exec.Failed, Message: err.Error()}
	}
	attr := &os.ProcAttr{Dir: dir, Env: env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true}}
	if req.TTY {
		attr.Sys.Setctty, attr.Sys.Ctty = true, 0
	}
	p.group = groups.newGroup()
	p.group.starts(attr.Sys)
	err = withoutAdvantages(func() (err error) {
		p.proc, err = os.StartProcess(path, argv, attr)
		return err
	})
	for _, f := range files {
		f.Close()
	}
	if err != nil {
		p.close()
		return nil, refusal(argv[0], err)
	}
	return p, exec.Status{}
}

// refusal says why there is no process, as a shell would tell the two apart.
func refusal(name string, err error) exec.Status {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	s := exec.Status{Kind: exec.Failed, Message: name + ": " + err.Error()}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		s.Kind, s.Message = exec.NotFound, name+": command not found"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOEXEC), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.E2BIG):
		s.Kind = exec.NotExecutable
	}
	return s
}

// pipes makes both ends of the process's descriptors.
func pipes(req exec.Request) (*process, []*os.File, error) {
	if req.TTY {
		master, slave, err := pty.Open()
		if err != nil {
			return nil, nil, err
		}
		if req.Size.Rows > 0 && req.Size.Cols > 0 {
			pty.Setsize(master, &pty.Winsize{Rows: req.Size.Rows, Cols: req.Size.Cols})
		}
		return &process{stdin: master, stdout: master, tty: true}, []*os.File{slave, slave, slave}, nil
	}
	var ends [6]*os.File
	for i := 0; i < len(ends); i += 2 {
		r, w, err := os.Pipe()
		if err != nil {
			for _, f := range ends[:i] {
				f.Close()
			}
			return nil, nil, err
		}
		growPipe(w)
		ends[i], ends[i+1] = r, w
	}
	return &process{stdin: ends[1], stdout: ends[2], stderr: ends[4]}, []*os.File{ends[0], ends[3], ends[5]}, nil
}

// growPipe makes a pipe as large as may be; a smaller one is only slower. Not
// by Fd, which would take the file from the poller, and deadlines with it.
func growPipe(f *os.File) {
	if raw, err := f.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
}

// feed does what the host sends until the stream ends.
func (p *process) feed(in *exec.Reader) {
	stdin := p.stdin
	for {
		t, b, err := in.Next()
		if err != nil {
			return
		}
		switch t {
		case exec.TypeStdin:
			switch {
			case stdin == nil:
			case len(b) == 0 && p.tty:
				stdin.Write([]byte{4}) // end of input, as typed (VEOF)
			case len(b) == 0:
				stdin.Close()
				stdin = nil
			default:
				if _, err := stdin.Write(b); err != nil && !p.tty {
					stdin.Close() // the process takes no more
					stdin = nil
				}
			}
		case exec.TypeResize:
			if s, err := exec.ParseResize(b); err == nil && p.tty {
				pty.Setsize(p.stdout, &pty.Winsize{Rows: s.Rows, Cols: s.Cols})
			}
		case exec.TypeSignal:
			if len(b) == 1 && b[0] > 0 && b[0] <= 64 {
				p.signal(syscall.Signal(b[0]))
			}
		}
	}
}

// signal reaches the whole session's group: what a shell started hears it too.
func (p *process) signal(s syscall.Signal) {
	if syscall.Kill(-p.proc.Pid, s) != nil {
		syscall.Kill(p.proc.Pid, s)
	}
}

// hangUp ends a process whose host is gone.
func (p *process) hangUp(ended <-chan struct{}) {
	p.signal(syscall.SIGHUP)
	select {
	case <-ended:
	case <-time.After(hangup):
		p.signal(syscall.SIGKILL)
	}
}

func (p *process) wait() exec.Status {
	state, err := p.proc.Wait()
	if err != nil {
		return exec.Status{Kind: exec.Failed, Message: err.Error()}
	}
	ws := state.Sys().(syscall.WaitStatus)
	killed := p.group.outOfMemory()
	if ws.Signaled() {
		return exec.Status{Kind: exec.Signalled, Signal: int(ws.Signal()), OutOfMemory: killed}
	}
	return exec.Status{Kind: exec.Exited, Code: ws.ExitStatus(), OutOfMemory: killed}
}

func (p *process) close() {
	p.group.end()
	for _, f := range []*os.File{p.stdin, p.stdout, p.stderr} {
		if f != nil {
			f.Close()
		}
	}
}
