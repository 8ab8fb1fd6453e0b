package command

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"banger/internal/channel/exec"
)

func TestGuestKills(t *testing.T) {
	for events, want := range map[string]int{
		"": 0,
		"low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n": 0,
		"low 0\nhigh 0\nmax 0\noom 0\noom_kill 2\noom_group_kill 0\n": 2,
		"max 71\noom 1\noom_kill 1\n":                                 0, // at a limit of the group's own
		"oom_kill\noom_kill x\n":                                      0,
	} {
		if got := guestKills(events); got != want {
			t.Errorf("guestKills(%q) = %d, want %d", events, got, want)
		}
	}
}

// groupsDir is a control group of this test's own; it skips where none can be made.
func groupsDir(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 3 || f[2] != "cgroup2" {
			continue
		}
		dir, err := os.MkdirTemp(f[1], "banger-test-")
		if err != nil {
			t.Skipf("no control group can be made: %v", err)
		}
		t.Cleanup(func() {
			for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
				if err := os.Remove(dir); err == nil || time.Now().After(end) {
					if err != nil {
						t.Errorf("remove the test's group: %v", err)
					}
					return
				}
			}
		})
		return dir
	}
	t.Skip("there is no cgroup2 here")
	return ""
}

// run runs a script in a group of its own, to its end.
func (g *Groups) run(t *testing.T, script string) string {
	t.Helper()
	p, status := start(sh(script), Terminal{}, nil, nil, g)
	if p == nil {
		t.Fatalf("start: %+v", status)
	}
	if p.group == nil {
		t.Fatal("the command has no group")
	}
	var out bytes.Buffer
	if _, err := out.ReadFrom(p.stdout); err != nil {
		t.Fatal(err)
	}
	if got, want := p.wait(), (exec.Status{Kind: exec.Exited}); got != want {
		t.Fatalf("%q ended with %+v", script, got)
	}
	p.close()
	return out.String()
}

// groups are the names of those that are there.
func (g *Groups) groups(t *testing.T) []string {
	t.Helper()
	names, err := fs.Glob(g.dir.FS(), groupHead+"*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// Each command has a group, which is gone when the last process in it is.
func TestGroups(t *testing.T) {
	dir := groupsDir(t)
	g, err := OpenGroups(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer g.dir.Close()
	of := filepath.Base(dir)
	for n := 1; n <= 3; n++ {
		if got, want := g.run(t, "grep ^0: /proc/self/cgroup"), fmt.Sprintf("/%s/command-%d\n", of, n); !strings.HasSuffix(got, want) {
			t.Errorf("the command was in %q, want one that ends with %q", got, want)
		}
	}
	if left := g.groups(t); len(left) != 0 {
		t.Errorf("groups are left: %v", left)
	}

	// What a command leaves running stays, and so does its group.
	pid := strings.TrimSpace(g.run(t, "sleep 1000 >/dev/null 2>&1 </dev/null & echo $!"))
	g.run(t, "true")
	if left := g.groups(t); len(left) != 1 || left[0] != "command-4" {
		t.Errorf("groups are %v, want command-4 alone", left)
	}
	// The next agent takes its group over.
	next, err := OpenGroups(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer next.dir.Close()
	if got := next.run(t, "grep ^0: /proc/self/cgroup"); !strings.HasSuffix(got, "/command-5\n") {
		t.Errorf("the next agent's command was in %q, want command-5", got)
	}
	next.run(t, "kill -9 "+pid)
	for end := time.Now().Add(patience); len(next.groups(t)) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("groups are left: %v", next.groups(t))
		}
		next.run(t, "true")
	}

	// Groups that a command made in its own go with it.
	next.run(t, fmt.Sprintf("cd %s/command-*; mkdir -p a/b c", dir))
	if left := next.groups(t); len(left) != 0 {
		t.Errorf("groups are left: %v", left)
	}
}

// A command runs although its group can't be made.
func TestNoGroup(t *testing.T) {
	dir := t.TempDir()
	g, err := OpenGroups(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer g.dir.Close()
	if err := os.WriteFile(filepath.Join(dir, "command-1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "command-2"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p, status := start(sh("exit 3"), Terminal{}, nil, nil, g)
	if p == nil {
		t.Fatalf("start: %+v", status)
	}
	defer p.close()
	if got, want := p.wait(), (exec.Status{Kind: exec.Exited, Code: 3}); got != want {
		t.Errorf("it ended with %+v, want %+v", got, want)
	}
}
