package launch

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"banger/internal/process"
	"banger/internal/vm"
)

// The test binary is the launcher, and a starter that can be killed.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "launch":
		Main()
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

func TestErrorsComeBack(t *testing.T) {
	for _, s := range []Spec{{Path: "/nonexistent/program"}, {Path: "sleep"}, {Path: "/etc/passwd"}, {Path: "/bin/true", Dir: "/nonexistent"}} {
		if c, err := Start(os.Args[0], s); err == nil {
			t.Errorf("Start(%+v) = %v, want an error", s, c.Process())
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
