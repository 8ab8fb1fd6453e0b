package vmmtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// confined looks at the VMM's process while its guest runs: what it has, it
// was meant to have.
func (s *suite) confined(t *testing.T) {
	t.Setenv("BANGER_SECRET", "1")
	secret := filepath.Join(t.TempDir(), "secret")
	f, err := os.Create(secret)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// What the starter left inheritable is still not for the VMM.
	if _, _, e := syscall.Syscall(syscall.SYS_FCNTL, f.Fd(), syscall.F_SETFD, 0); e != 0 {
		t.Fatal(e)
	}
	spec := s.spec(t)
	g := s.up(t, spec)
	proc := fmt.Sprintf("/proc/%d/", g.Process().PID)
	read := func(name string) string {
		text, err := os.ReadFile(proc + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if env := read("environ"); env != "" {
		t.Errorf("the VMM's environment is %q, want none", env)
	}
	if got := field(read("status"), "NoNewPrivs:"); !slices.Equal(got, []string{"1"}) {
		t.Errorf("NoNewPrivs: %v, want 1", got)
	}
	// 2 is a filter (proc(5)); a VMM without its own still has the launcher's.
	if got := field(read("status"), "Seccomp:"); !slices.Equal(got, []string{"2"}) {
		t.Errorf("Seccomp: %v, want 2", got)
	}
	if got := field(read("limits"), "Max core file size"); !slices.Equal(got, []string{"0", "0", "bytes"}) {
		t.Errorf("the limit of core files is %v, want 0 0 bytes", got)
	}
	if got := field(read("limits"), "Max open files"); len(got) < 2 || got[1] == "unlimited" {
		t.Errorf("the limit of open files is %v, want one", got)
	}

	meant := []string{spec.Kernel, spec.Initrd}
	for _, d := range spec.Disks {
		meant = append(meant, d.Path)
	}
	fds, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		// What is no path is a socket, a pipe, an event.
		path, err := os.Readlink(proc + "fd/" + fd.Name())
		if err != nil || !filepath.IsAbs(path) || strings.HasPrefix(path, "/dev/") || strings.HasPrefix(path, "/memfd:") {
			continue
		}
		inside := strings.HasPrefix(path, spec.Dir+"/") || strings.HasPrefix(path, spec.RunDir+"/")
		own := slices.ContainsFunc(s.Opens, func(begin string) bool { return strings.HasPrefix(path, begin) })
		if !inside && !own && !slices.Contains(meant, path) {
			t.Errorf("the VMM has %s open, which is not in its spec", path)
		}
	}
	for _, gap := range g.Gaps() {
		if gap == "" || strings.Contains(gap, "\n") {
			t.Errorf("a gap is %q, want a line", gap)
		}
		t.Logf("not applied: %s", gap)
	}
}

// field is what stands behind name in a file of /proc that has a line for it.
func field(text, name string) []string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.Fields(rest)
		}
	}
	return nil
}
