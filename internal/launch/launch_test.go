package launch

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"banger/internal/process"
	"banger/internal/vm"
)

// The test binary is the launcher, and a starter that can be killed.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "launch":
		Main()
	case len(os.Args) > 2 && os.Args[1] == "sockets":
		trySockets(os.Args[2])
	case len(os.Args) > 1 && os.Args[1] == "muffled":
		muffle()
	case len(os.Args) > 1 && os.Args[1] == "signals":
		c, err := Start(os.Args[0], Spec{Path: "/bin/cat", Args: []string{"/proc/self/status"}, Stdout: os.Stdout})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		<-c.Done()
		os.Exit(0)
	case len(os.Args) > 1 && os.Args[1] == "starter":
		c, err := Start(os.Args[0], Spec{Path: "/bin/sleep", Args: []string{"60"}, DieWithParent: true})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(c.Process().PID)
		<-c.Done()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// muffle becomes "signals" with signals ignored and blocked, as after nohup.
func muffle() {
	runtime.LockOSThread()
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGUSR2)
	blocked := unix.Sigset_t{Val: [16]uint64{1<<(unix.SIGTERM-1) | 1<<(unix.SIGUSR1-1)}}
	unix.PthreadSigmask(unix.SIG_SETMASK, &blocked, nil)
	fmt.Println(syscall.Exec(os.Args[0], []string{os.Args[0], "signals"}, nil))
	os.Exit(1)
}

func start(t *testing.T, s Spec) (*Child, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.Stdout = w
	c, err := Start(os.Args[0], s)
	w.Close()
	if err != nil {
		t.Fatalf("Start(%q): %v", s.Path, err)
	}
	t.Cleanup(func() { r.Close() })
	return c, r
}

func output(t *testing.T, s Spec) string {
	t.Helper()
	c, r := start(t, s)
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if !c.State().Success() {
		t.Errorf("%q %q ended with %v", s.Path, s.Args, c.State())
	}
	return strings.TrimSpace(string(b))
}

func TestEnvironmentIsExactlyTheSpecs(t *testing.T) {
	t.Setenv("BANGER_LEAK", "1")
	if got := output(t, Spec{Path: "/usr/bin/env"}); got != "" {
		t.Errorf("env printed %q, want nothing", got)
	}
	if got := output(t, Spec{Path: "/usr/bin/env", Env: []string{"A=b c"}}); got != "A=b c" {
		t.Errorf("env printed %q, want A=b c", got)
	}
}

func TestOnlyTheSpecsDescriptorsAreOpen(t *testing.T) {
	leak, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer leak.Close()
	// What an earlier starter left inheritable.
	if _, _, e := syscall.Syscall(syscall.SYS_FCNTL, leak.Fd(), syscall.F_SETFD, 0); e != 0 {
		t.Fatal(e)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	// ls has one more of its own: the directory it reads.
	got := strings.Fields(output(t, Spec{Path: "/bin/ls", Args: []string{"/proc/self/fd"}, Files: []*os.File{r, w}}))
	if want := "0 1 2 3 4 5"; strings.Join(got, " ") != want {
		t.Errorf("open descriptors: %v, want %s", got, want)
	}
}

func TestSessionDirectoryAndRights(t *testing.T) {
	dir := t.TempDir()
	script := `ps -o sid= -p $$; echo $$; pwd; umask; grep NoNewPrivs /proc/self/status; ulimit -n`
	got := strings.Fields(output(t, Spec{Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"PATH=/bin:/usr/bin"},
		Dir: dir, NewSession: true, NoNewPrivs: true, MaxOpenFiles: 99}))
	if len(got) != 7 {
		t.Fatalf("got %q", got)
	}
	if got[0] != got[1] {
		t.Errorf("session %s, want the process's own %s", got[0], got[1])
	}
	if want := []string{dir, "0077", "NoNewPrivs:", "1", "99"}; strings.Join(got[2:], " ") != strings.Join(want, " ") {
		t.Errorf("got %q, want %q", got[2:], want)
	}
}

func TestSignalsAreDefaults(t *testing.T) {
	out, err := exec.Command(os.Args[0], "muffled").Output()
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(out))
	for _, what := range []string{"SigBlk:", "SigIgn:", "SigCgt:"} {
		i := slices.Index(fields, what)
		if i < 0 || fields[i+1] != "0000000000000000" {
			t.Errorf("the program began with %s, want no bit in %s", out, what)
		}
	}
}

func TestFileSizeIsLimited(t *testing.T) {
	c, _ := start(t, Spec{Path: "/bin/sh", Args: []string{"-c", "printf 12345678901 >" + t.TempDir() + "/f"}, MaxFileSize: 10})
	<-c.Done()
	if ws := c.State().Sys().(syscall.WaitStatus); c.State().Success() || (ws.Signaled() && ws.Signal() != syscall.SIGXFSZ) {
		t.Errorf("a write of 11 bytes under a limit of 10 ended with %v", c.State())
	}
}

// The order goes by a descriptor: neither its size nor its bytes meet a limit
// before the program's own.
func TestArgumentsArriveUnchanged(t *testing.T) {
	args := []string{"%s|", "", "a b", "\"'$x\n", "\u00e9\xff", strings.Repeat("x", 100<<10)}
	if got, want := output(t, Spec{Path: "/usr/bin/printf", Args: args}), strings.Join(args[1:], "|")+"|"; got != want {
		t.Errorf("printf wrote %.80q (%d bytes), want %.80q (%d bytes)", got, len(got), want, len(want))
	}
}

func TestStartLeavesNoDescriptor(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	once := func() {
		c, err := Start(os.Args[0], Spec{Path: "/bin/true"})
		if err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		if _, err := Start(os.Args[0], Spec{Path: "/nonexistent"}); err == nil {
			t.Fatal("Start of what is not there: no error")
		}
		if _, err := Start("/nonexistent", Spec{Path: "/bin/true"}); err == nil {
			t.Fatal("Start by a launcher that is not there: no error")
		}
	}
	once() // whatever Go opens for itself
	before := count()
	for range 3 {
		once()
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors after three starts, %d before", after, before)
	}
}

func TestStartsAtOnce(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var work sync.WaitGroup
	for i := range 8 {
		work.Go(func() {
			r, w, err := os.Pipe()
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			c, err := Start(os.Args[0], Spec{Path: "/bin/echo", Args: []string{fmt.Sprint(i)}, Stdout: w, DieWithParent: true})
			w.Close()
			if err != nil {
				t.Error(err)
				return
			}
			if text, err := io.ReadAll(r); err != nil || string(text) != fmt.Sprintln(i) {
				t.Errorf("echo %d wrote %q, %v", i, text, err)
			}
			<-c.Done()
		})
	}
	work.Wait()
}

func TestNotForHandUse(t *testing.T) {
	for _, args := range [][]string{{"launch"}, {"launch", "x"}, {"launch", "-1"}, {"launch", "999"}} {
		out, err := exec.Command(os.Args[0], args...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 125 || strings.Contains(string(out), "goroutine") {
			t.Errorf("%q: %v, %q; want status 125", args, err, out)
		}
	}
}

// A scope is a comfort: a user manager that is missing, deaf or mute costs a
// second at most.
func TestEnterScopeIsBounded(t *testing.T) {
	for _, manager := range []string{"absent", "deaf", "hangs up"} {
		t.Run(manager, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("XDG_RUNTIME_DIR", dir)
			if err := os.Mkdir(filepath.Join(dir, "systemd"), 0o700); err != nil {
				t.Fatal(err)
			}
			called := make(chan struct{}, 1)
			if manager != "absent" {
				l, err := net.Listen("unix", filepath.Join(dir, "systemd", "private"))
				if err != nil {
					t.Fatal(err)
				}
				var serving sync.WaitGroup
				serving.Go(func() { // ends with the listener
					for {
						c, err := l.Accept()
						if err != nil {
							return
						}
						called <- struct{}{}
						if manager == "hangs up" {
							c.Close()
						}
						defer c.Close()
					}
				})
				defer serving.Wait()
				defer l.Close()
			}
			started := time.Now()
			EnterScope("banger-test.scope", os.Getpid())
			if took := time.Since(started); took > scopeLimit+3*time.Second {
				t.Errorf("EnterScope took %v", took)
			}
			if manager != "absent" && len(called) == 0 {
				t.Error("no manager was asked for a scope")
			}
		})
	}
}

func TestErrorsComeBack(t *testing.T) {
	for _, c := range []struct {
		spec Spec
		want string
	}{
		{Spec{Path: "/nonexistent/program"}, "no such file"},
		{Spec{Path: "sleep"}, "not absolute"},
		{Spec{Path: "/etc/passwd"}, "permission denied"},
		{Spec{Path: "/bin/true", Dir: "/nonexistent"}, "chdir /nonexistent"},
		{Spec{Path: "/bin/true", Args: []string{"a\x00b"}}, "invalid argument"},
		{Spec{Path: "/bin/true", Args: []string{strings.Repeat("x", 200<<10)}}, "argument list too long"},
	} {
		if child, err := Start(os.Args[0], c.spec); err == nil {
			t.Errorf("Start(%.100v) = %v, want an error", c.spec, child.Process())
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("Start(%.100v): %v, want %q", c.spec, err, c.want)
		}
	}
	// A launcher that is none, and one that dies before its order.
	for _, launcher := range []string{"/bin/true", "/bin/false"} {
		if child, err := Start(launcher, Spec{Path: "/bin/true"}); err == nil {
			t.Errorf("Start by %s = %v, want an error", launcher, child.Process())
		}
	}
}

func TestChildDiesWithItsStarter(t *testing.T) {
	cmd := exec.Command(os.Args[0], "starter")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(line, &pid); err != nil {
		t.Fatalf("the starter said %q", line)
	}
	p, err := process.Of(pid)
	if err != nil {
		t.Fatal(err)
	}
	h, err := process.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	cmd.Process.Kill()
	cmd.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := h.Wait(ctx); err != nil {
		t.Errorf("the child outlived its starter: %v", err)
	}
}

// A parent-death signal fires at the end of the starting thread: a caller's
// must not be that thread.
func TestChildOutlivesItsStartersThread(t *testing.T) {
	type result struct {
		child *Child
		tid   int
		err   error
	}
	started := make(chan result)
	var start func()
	start = func() { // its thread ends with it, as it is never unlocked
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() { // the main thread, which Go keeps whatever ends on it
			defer runtime.UnlockOSThread()
			done := make(chan struct{})
			go func() { defer close(done); start() }() // on another, as this one is taken
			<-done
			return
		}
		c, err := Start(os.Args[0], Spec{Path: "/bin/sleep", Args: []string{"60"}, DieWithParent: true})
		started <- result{c, unix.Gettid(), err}
	}
	go start()
	r := <-started
	if r.err != nil {
		t.Fatal(r.err)
	}
	task := fmt.Sprintf("/proc/self/task/%d", r.tid)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(task); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the thread did not end")
		}
	}
	select {
	case <-r.child.Done():
		t.Errorf("the child ended with its starter's thread: %v", r.child.State())
	case <-time.After(100 * time.Millisecond): // a signal would have come at once
	}
	r.child.Signal(os.Kill)
	<-r.child.Done()
}

func TestOnlyKillEnds(t *testing.T) {
	c, err := Start(os.Args[0], Spec{Path: "/bin/sleep", Args: []string{"60"}, OnlyKill: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM} {
		if err := c.Signal(sig); err != nil {
			t.Error(err)
		}
	}
	select {
	case <-c.Done():
		t.Errorf("the child ended: %v", c.State())
	case <-time.After(100 * time.Millisecond): // a signal would have come at once
		c.Signal(os.Kill)
	}
	<-c.Done()
}

// A launcher whose starter is gone already starts nothing.
func TestOrphanStartsNothing(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	statusR, statusW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer statusR.Close()
	cmd := exec.Command(os.Args[0], "launch", "3")
	cmd.ExtraFiles = []*os.File{r, statusW}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	statusW.Close()
	text, err := json.Marshal(order{Path: []byte("/bin/true"), Parent: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	w.Write(text)
	w.Close()
	if _, err := status(statusR); err == nil || !strings.Contains(err.Error(), "the starter has ended") {
		t.Errorf("a launcher without its starter says %v", err)
	}
	cmd.Wait()
}

// For kernels that have no close_range with a flag.
func TestCloseOnExecEach(t *testing.T) {
	fd, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := closeOnExecEach(fd); err != nil {
		t.Fatal(err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x, %v; want close-on-exec", flags, err)
	}
}

func TestChildIsKnownAndReaped(t *testing.T) {
	c, _ := start(t, Spec{Path: "/bin/sleep", Args: []string{"60"}})
	if p := c.Process(); !process.Alive(p) || p == (vm.Process{}) {
		t.Errorf("Process() = %+v, which is not alive", p)
	}
	if err := c.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if ws := c.State().Sys().(syscall.WaitStatus); ws.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v, want SIGTERM", c.State())
	}
}
