package harness

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// ptyLimit bounds the wait for one expected text.
const ptyLimit = 60 * time.Second

// terminal is a program on a pseudo-terminal of 24 lines of 80.
type terminal struct {
	ts     *testscript.TestScript
	s      *state
	master *os.File
	cmd    *exec.Cmd
	before unix.Termios // of the terminal, as the program found it

	mu      sync.Mutex
	seen    []byte
	changed chan struct{} // closed and replaced when seen grows

	at    int           // what was expected already
	ended chan struct{} // closed when the program ended
}

// ptyRun drives a program line by line. What it showed is kept as FILE.out.
func ptyRun(s *state, ts *testscript.TestScript, args []string) {
	cmd := s.command(ts, args[1:])
	master, slave, err := pty.Open()
	ts.Check(err)
	defer master.Close()
	// Held open: the terminal keeps its state when the program is gone.
	defer slave.Close()
	ts.Check(pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: 80}))
	t := &terminal{ts: ts, s: s, master: master, cmd: cmd, changed: make(chan struct{}), ended: make(chan struct{})}
	t.before = t.mode(slave)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	ts.Check(cmd.Start())
	var reading sync.WaitGroup
	reading.Go(func() { t.read() })            // ends when both ends are closed
	go func() { cmd.Wait(); close(t.ended) }() // ends with the program, which is killed below
	defer func() {
		cmd.Process.Kill()
		<-t.ended
		slave.Close()
		master.Close()
		reading.Wait()
		os.WriteFile(ts.MkAbs(args[0]+".out"), t.seen, 0o600)
		ts.Logf("[the terminal showed]\n%q", t.seen)
	}()
	for i, line := range strings.Split(ts.ReadFile(args[0]), "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := t.line(line, slave); err != nil {
			ts.Fatalf("%s:%d: %s: %v", args[0], i+1, line, err)
		}
	}
}

func (t *terminal) mode(f *os.File) unix.Termios {
	m, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	t.ts.Check(err)
	return *m
}

func (t *terminal) read() {
	b := make([]byte, 4096)
	for {
		n, err := t.master.Read(b)
		t.mu.Lock()
		t.seen = append(t.seen, b[:n]...)
		close(t.changed)
		t.changed = make(chan struct{})
		t.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// line does one line of a terminal's script:
//
//	expect REGEXP   wait for it in what came since the last match
//	send TEXT       type it; \r, \n, \t, \xNN as in Go
//	resize ROWS COLS
//	signal SIGNAL   to the program
//	run COMMAND…    one of the script's commands
//	status N        wait for the program's end
//	restored        the terminal is in the mode in which the program found it
//	raw             it is not
func (t *terminal) line(line string, slave *os.File) error {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "expect":
		return t.expect(rest)
	case "send":
		text, err := strconv.Unquote(`"` + strings.ReplaceAll(rest, `"`, `\"`) + `"`)
		if err != nil {
			return err
		}
		_, err = t.master.WriteString(text)
		return err
	case "resize":
		var rows, cols uint16
		if _, err := fmt.Sscan(rest, &rows, &cols); err != nil {
			return err
		}
		return pty.Setsize(t.master, &pty.Winsize{Rows: rows, Cols: cols})
	case "signal":
		return t.cmd.Process.Signal(unix.SignalNum(rest))
	case "run":
		f := strings.Fields(rest)
		commands[f[0]](t.ts, false, f[1:])
		return nil
	case "status":
		select {
		case <-t.ended:
		case <-time.After(ptyLimit):
			return fmt.Errorf("it did not end in %v", ptyLimit)
		}
		if got := strconv.Itoa(statusOf(t.cmd.ProcessState)); got != rest {
			return fmt.Errorf("exit status %s", got)
		}
		return nil
	case "restored", "raw":
		if same := t.mode(slave) == t.before; same != (verb == "restored") {
			return fmt.Errorf("the terminal's mode is %+v, it began with %+v", t.mode(slave), t.before)
		}
		return nil
	}
	return fmt.Errorf("no such verb")
}

func (t *terminal) expect(pattern string) error {
	re, err := regexp.Compile("(?m)" + pattern)
	if err != nil {
		return err
	}
	limit := time.After(ptyLimit)
	for {
		t.mu.Lock()
		found := re.FindIndex(t.seen[t.at:])
		changed := t.changed
		if found != nil {
			t.at += found[1]
		}
		t.mu.Unlock()
		if found != nil {
			return nil
		}
		select {
		case <-changed:
		case <-limit:
			return fmt.Errorf("it did not come in %v", ptyLimit)
		case <-t.s.ctx.Done():
			return fmt.Errorf("it did not come in the script's time")
		}
	}
}
