package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Groups gives each command a control group of its own (cgroups(7), version 2), so
// that the kernel tells whose processes it killed for want of memory. What a
// command leaves running stays in its group. A nil Groups gives none.
type Groups struct {
	dir *os.Root // open, because an init may mount something over its path

	mu   sync.Mutex
	last int
	left []string // of commands that have ended, with processes in them
}

// groupHead begins the name of a command's group.
const groupHead = "command-"

// OpenGroups makes groups below dir. Those of an agent before this one are removed
// when they are empty.
func OpenGroups(dir string) (*Groups, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	g := &Groups{dir: root}
	names, err := fs.Glob(root.FS(), groupHead+"*")
	if err != nil {
		root.Close()
		return nil, err
	}
	for _, name := range names {
		if n, err := strconv.Atoi(strings.TrimPrefix(name, groupHead)); err == nil {
			g.last, g.left = max(g.last, n), append(g.left, name)
		}
	}
	return g, nil
}

// group is one command's.
type group struct {
	of   *Groups
	name string
	dir  *os.File
}

// newGroup makes a group; nil if there can be none, and the command runs without.
func (g *Groups) newGroup() *group {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for range 2 { // the kernel's list of groups may be full of those that were left
		g.last++
		name := groupHead + strconv.Itoa(g.last)
		if g.dir.Mkdir(name, 0o755) == nil {
			dir, err := g.dir.Open(name)
			if err == nil {
				return &group{g, name, dir}
			}
			g.dir.Remove(name)
		}
		g.sweep()
	}
	return nil
}

// starts lets a process begin in the group.
func (p *group) starts(attr *syscall.SysProcAttr) {
	if p != nil {
		attr.UseCgroupFD, attr.CgroupFD = true, int(p.dir.Fd())
	}
}

// outOfMemory is how many processes of the group the kernel has killed because the
// guest had no memory left.
func (p *group) outOfMemory() int {
	if p == nil {
		return 0
	}
	text, err := p.of.dir.ReadFile(filepath.Join(p.name, "memory.events"))
	if err != nil {
		return 0 // without the controller nobody counts
	}
	return guestKills(string(text))
}

// guestKills reads memory.events (Documentation/admin-guide/cgroup-v2.rst). oom is
// counted only at a limit that somebody set in the group: what was killed then says
// nothing of the guest's memory.
func guestKills(events string) int {
	count := map[string]int{}
	for line := range strings.Lines(events) {
		if f := strings.Fields(line); len(f) == 2 {
			count[f[0]], _ = strconv.Atoi(f[1])
		}
	}
	if count["oom"] > 0 {
		return 0
	}
	return count["oom_kill"]
}

// end removes the group, now or when the processes in it have ended.
func (p *group) end() {
	if p == nil {
		return
	}
	p.dir.Close()
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	p.of.left = append(p.of.left, p.name)
	p.of.sweep()
}

// sweep removes the groups of ended commands that are empty by now. The caller
// holds mu.
func (g *Groups) sweep() {
	left := g.left[:0]
	for _, name := range g.left {
		if err := g.remove(name, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			left = append(left, name)
		}
	}
	g.left = left
}

// maxDepth bounds the groups that a command made in its own, one in the other.
const maxDepth = 16

// remove removes a group without processes, and the groups in it.
func (g *Groups) remove(name string, depth int) error {
	err := g.dir.Remove(name)
	if !errors.Is(err, unix.EBUSY) || depth > maxDepth {
		return err
	}
	text, rerr := g.dir.ReadFile(filepath.Join(name, "cgroup.events"))
	if rerr != nil || !strings.Contains(string(text), "populated 0") {
		return err
	}
	entries, rerr := fs.ReadDir(g.dir.FS(), name)
	if rerr != nil {
		return rerr
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := g.remove(filepath.Join(name, e.Name()), depth+1); err != nil {
				return fmt.Errorf("remove the group %q: %w", e.Name(), err)
			}
		}
	}
	return g.dir.Remove(name)
}
