package command

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/channel/exec"
)

// pipeSize is the kernel's largest pipe for everybody
// (/proc/sys/fs/pipe-max-size).
const pipeSize = 1 << 20

// process is a running one with our ends of its descriptors. stdin may be the
// same file as stdout: a terminal. One on the console has none of them.
type process struct {
	proc           *os.Process
	stdin          *os.File
	stdout, stderr *os.File
	terminal       *os.File // nil without one
	tty            bool     // a pseudo-terminal
	group          *group   // nil if it has none of its own
}

// self is the running program, whatever its path has become.
const self = "/proc/self/exe"

// start starts what req asks for with env over root's own; without a process
// the status says why. A request of the agent's own program gets agent before its
// arguments.
func start(req exec.Request, t Terminal, env, agent []string, groups *Groups) (*process, exec.Status) {
	who, err := findAccount(passwdFile, groupFile, req.User)
	if err != nil {
		return nil, exec.Status{Kind: exec.Failed, Message: err.Error()}
	}
	who.startManager()
	env = environment(req, who, env)
	argv := make([]string, len(req.Argv))
	for i, w := range req.Argv {
		argv[i] = string(w)
	}
	dir, err := directory(req, who, env)
	if err != nil {
		return nil, exec.Status{Kind: exec.Failed, Message: err.Error()}
	}
	var path string
	if req.Agent {
		path, argv = self, append(slices.Clone(agent), argv...)
	} else if len(argv) == 0 {
		path = getenv(env, "SHELL")
		argv = []string{"-" + filepath.Base(path)}
	} else if path, err = lookPath(argv[0], getenv(env, "PATH"), dir); err != nil {
		return nil, refusal(argv[0], err)
	}
	p, files, err := pipes(req)
	if err != nil {
		return nil, exec.Status{Kind: exec.Failed, Message: err.Error()}
	}
	if p.tty {
		env = t.prepare(files[0], env)
	}
	attr := &os.ProcAttr{Dir: dir, Env: env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true, Credential: who.credential()}}
	if p.terminal != nil {
		attr.Sys.Setctty, attr.Sys.Ctty = true, 0
		if p.tty && !who.own {
			files[0].Chown(int(who.uid), -1) // it can be opened by its path, as after a login
		}
	}
	p.group = groups.newGroup()
	p.group.starts(attr.Sys)
	var set limits
	if !req.Agent {
		set = who.loginLimits(groupFile, limitsFile, limitsFiles)
	}
	err = withoutAdvantages(func() (err error) {
		p.proc, err = startLimited(path, argv, attr, set)
		return err
	})
	for _, f := range files {
		if f != p.terminal {
			f.Close()
		}
	}
	if err != nil {
		p.close()
		return nil, refusal(argv[0], missing(path, err))
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
	var none *interpreterError
	switch {
	case errors.As(err, &none):
		s.Kind = exec.NotExecutable
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		s.Kind, s.Message = exec.NotFound, name+": command not found"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOEXEC), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.E2BIG):
		s.Kind = exec.NotExecutable
	}
	return s
}

// pipes makes both ends of the process's descriptors.
func pipes(req exec.Request) (*process, []*os.File, error) {
	if req.Console {
		f, err := openConsole(req.Size)
		if err != nil {
			return nil, nil, err
		}
		return &process{terminal: f}, []*os.File{f, f, f}, nil
	}
	if req.TTY {
		master, slave, err := openTerminal(req.Size)
		if err != nil {
			return nil, nil, err
		}
		return &process{stdin: master, stdout: master, terminal: master, tty: true}, []*os.File{slave, slave, slave}, nil
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

// signal reaches the whole session's group: what a shell started hears it too.
func (p *process) signal(s syscall.Signal) {
	if syscall.Kill(-p.proc.Pid, s) != nil {
		syscall.Kill(p.proc.Pid, s)
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
	for _, f := range []*os.File{p.stdin, p.stdout, p.stderr, p.terminal} {
		if f != nil {
			f.Close()
		}
	}
}
