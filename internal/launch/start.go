package launch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"banger/internal/process"
	"banger/internal/vm"
)

// order is what the launcher reads: a Spec without its descriptors, which it
// inherits. What the kernel takes as bytes is bytes here: JSON's strings can't
// hold all of them.
type order struct {
	Path  []byte   `json:"path"`
	Args  [][]byte `json:"args"`
	Env   [][]byte `json:"env"`
	Dir   []byte   `json:"dir"`
	Files int      `json:"files"`
	// Parent is the starter's pid where the program has to die with it, else 0.
	Parent       int      `json:"parent"`
	OnlyKill     bool     `json:"only_kill"`
	NoNewPrivs   bool     `json:"no_new_privs"`
	NoCore       bool     `json:"no_core"`
	Sockets      Sockets  `json:"sockets"`
	MaxFileSize  int64    `json:"max_file_size"`
	MaxOpenFiles int64    `json:"max_open_files"`
	Confined     bool     `json:"confined"` // by the three that follow
	Read         [][]byte `json:"read"`
	Write        [][]byte `json:"write"`
	Execute      [][]byte `json:"execute"`
}

// Child is a started program.
type Child struct {
	process vm.Process
	cmd     *exec.Cmd
	gaps    []string
	done    chan struct{}
}

// starter runs functions on one thread that lives as long as the process: a
// parent-death signal fires when the starting thread ends (prctl(2)), and Go
// ends threads as it likes. Nothing ends the goroutine.
var starter = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// Start starts s by way of the launcher in program (`program launch FD`) and
// returns when s.Path was executed, or with the launcher's reason why not; on
// an error no process is left. Whoever starts a child gets its end from Done;
// the child is reaped by itself.
func Start(program string, s Spec) (*Child, error) {
	o := order{
		Path: []byte(s.Path), Args: toBytes(s.Args), Env: toBytes(s.Env), Dir: []byte(s.Dir), Files: len(s.Files),
		OnlyKill: s.OnlyKill, NoNewPrivs: s.NoNewPrivs || s.Sockets != AnySockets, Sockets: s.Sockets, NoCore: s.NoCore, MaxFileSize: s.MaxFileSize, MaxOpenFiles: s.MaxOpenFiles,
	}
	if s.Access != nil {
		o.Confined, o.NoNewPrivs = true, true
		o.Read, o.Write, o.Execute = toBytes(s.Access.Read), toBytes(s.Access.Write), toBytes(s.Access.Execute)
	}
	if s.DieWithParent {
		o.Parent = os.Getpid()
	}
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	orderR, orderW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer orderR.Close()
	defer orderW.Close()
	statusR, statusW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer statusR.Close()
	defer statusW.Close()

	cmd := exec.Command(program, "launch", strconv.Itoa(firstFile+len(s.Files)))
	cmd.Env = []string{}
	if v, ok := os.LookupEnv("GOCOVERDIR"); ok {
		cmd.Env = append(cmd.Env, "GOCOVERDIR="+v) // the launcher's own
	}
	cmd.Dir = "/"
	// A nil file is /dev/null.
	if s.Stdin != nil {
		cmd.Stdin = s.Stdin
	}
	if s.Stdout != nil {
		cmd.Stdout = s.Stdout
	}
	if s.Stderr != nil {
		cmd.Stderr = s.Stderr
	}
	cmd.ExtraFiles = append(append(cmd.ExtraFiles, s.Files...), orderR, statusW)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: s.NewSession}
	if s.DieWithParent {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	started := make(chan error)
	starter() <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start the launcher: %w", err)
	}
	statusW.Close()
	orderR.Close()
	_, err = orderW.Write(text)
	orderW.Close()
	// A launcher that did not read its order says why, if it can.
	gaps, said := status(statusR)
	if err == nil || !errors.Is(said, errSilent) {
		err = said
	}
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return nil, fmt.Errorf("start %q: %w", s.Path, err)
	}
	c := &Child{cmd: cmd, gaps: gaps, done: make(chan struct{})}
	// Identified before anything can reap it.
	if c.process, err = process.Of(cmd.Process.Pid); err != nil && !errors.Is(err, os.ErrProcessDone) {
		cmd.Process.Kill()
		cmd.Wait()
		return nil, fmt.Errorf("start %q: %w", s.Path, err)
	}
	c.process.PID = cmd.Process.Pid
	go func() { // ends with the child
		cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

// What the launcher says: gaps, each a line that begins with gap; then about,
// its last word before it executes the program; then a reason why not, or the
// pipe's end.
const (
	gap   = "gap: "
	about = "executing\n"
)

// maxSaid bounds what the launcher has to say, in bytes.
const maxSaid = 16 << 10

var errSilent = errors.New("the launcher ended without a word")

// status reads what the launcher has to say; no error is a program that runs.
func status(r io.Reader) (gaps []string, err error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSaid))
	if err != nil {
		return nil, err
	}
	for {
		rest, found := bytes.CutPrefix(text, []byte(gap))
		if !found {
			break
		}
		line, rest, _ := bytes.Cut(rest, []byte("\n"))
		gaps, text = append(gaps, string(line)), rest
	}
	why, ready := bytes.CutPrefix(text, []byte(about))
	switch {
	case len(why) > 0:
		return nil, errors.New(string(bytes.TrimSpace(why)))
	case !ready:
		return nil, errSilent
	}
	return gaps, nil
}

func toBytes(from []string) [][]byte {
	to := make([][]byte, len(from))
	for i, s := range from {
		to[i] = []byte(s)
	}
	return to
}

func toStrings(from [][]byte) []string {
	to := make([]string, len(from))
	for i, b := range from {
		to[i] = string(b)
	}
	return to
}

// Process identifies the child. One that ended at once has no start time.
func (c *Child) Process() vm.Process { return c.process }

// Gaps says in words, a line each, what of the spec's confinement could not be
// applied.
func (c *Child) Gaps() []string { return c.gaps }

// Done is closed when the child has ended and was reaped.
func (c *Child) Done() <-chan struct{} { return c.done }

// State is how the child ended; valid after Done.
func (c *Child) State() *os.ProcessState { return c.cmd.ProcessState }

// Signal signals the child; os.ErrProcessDone after its end.
func (c *Child) Signal(sig os.Signal) error { return c.cmd.Process.Signal(sig) }
