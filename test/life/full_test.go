//go:build standin

package life

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/api"
	"banger/internal/vm"
)

// small file systems: a test's own, of so many bytes.
const fileSystemBytes = 48 << 20

// newFullWorld makes a world whose state directory is a file system of its own.
func newFullWorld(t *testing.T) *world {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a file system of its own needs root")
	}
	w := newWorld(t)
	dir := filepath.Join(w.dir, "s")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("life", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", fileSystemBytes)); err != nil {
		t.Skipf("mount a file system: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) }) // before the world's own
	return w
}

func (w *world) filler() string { return filepath.Join(w.dir, "s", "filler") }

// fill leaves free bytes of the file system, to a page.
func (w *world) fill(free int64) {
	w.t.Helper()
	os.Remove(w.filler())
	if free < 0 {
		return
	}
	f, err := os.Create(w.filler())
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	for { // others write meanwhile
		var st unix.Statfs_t
		if err := unix.Statfs(filepath.Dir(w.filler()), &st); err != nil {
			w.t.Fatal(err)
		}
		n := int64(st.Bavail)*st.Bsize - free
		if n <= 0 {
			return
		}
		if err := unix.Fallocate(int(f.Fd()), 0, 0, n); err == nil {
			return
		} else if !errors.Is(err, unix.ENOSPC) {
			w.t.Fatal(err)
		}
	}
}

// long are the cases that wait each time for what lasts seconds. Their verbs are
// tried by others.
var long = map[string]bool{"workspace prepare": true, "delete -f with work": true, "kill TERM": true, "swept sockets": true, "start, much on the console": true}

// Every verb with little room, and none: it does what it says or says that there
// is no room, where, and leaves what can be used again when there is.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	top := int64(2 << 20)
	if *full {
		top = 16 << 20
	}
	var tried, refused atomic.Int64
	t.Run("cases", func(t *testing.T) {
		for n, c := range verbCases {
			if c.spoil != nil || long[c.name] && !*full || !inSlice(t, n) {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				w := newFullWorld(t)
				w.mustStart()
				for free := int64(0); free <= top && !t.Failed(); free += 64 << 10 {
					tried.Add(1)
					if w.withFree(c, free) {
						refused.Add(1)
					}
				}
			})
		}
	})
	t.Logf("figures: %d tried, %d refused for want of room", tried.Load(), refused.Load())
}

// withFree does a verb with so many bytes free, and reports whether there was no
// room for it.
func (w *world) withFree(c verbCase, free int64) (refused bool) {
	before := w.prepareAnew(c)
	w.fill(free)
	err := c.do(w.ctx(), w.client)
	switch got := code(err); {
	case got == "":
	case got == api.CodeNoSpace || got == api.CodeBoot:
		refused = true
		if !strings.Contains(err.Error(), "no space") && !strings.Contains(err.Error(), "full") {
			w.t.Errorf("%s with %d KiB free: %v", c.name, free>>10, err)
		}
	case (c.workspace || c.name == "workspace prepare") && strings.Contains(strings.ToLower(err.Error()), "no space"):
		refused = true // the stand-in's guest writes to the same disk
	default:
		w.t.Errorf("%s with %d KiB free: %s: %v", c.name, free>>10, got, err)
	}
	if err != nil && (strings.HasPrefix(c.name, "stop") || strings.HasPrefix(c.name, "kill") || strings.HasPrefix(c.name, "delete") || c.name == "prune") {
		w.t.Errorf("%s with %d KiB free: %v", c.name, free>>10, err)
	}
	w.fill(-1)
	w.eventually(func() string { return w.settled(c, before) })
	return refused
}

// prepareAnew is prepare on a world that has been used.
func (w *world) prepareAnew(c verbCase) api.VM {
	w.t.Helper()
	for _, name := range []string{"a", "b"} {
		if w.show(name) != nil {
			if _, err := w.client.DeleteVM(w.ctx(), name, api.Delete{Force: true, Discard: true}, nil); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	if _, err := w.client.EmptyTrash(w.ctx(), api.TrashEmpty{}); err != nil {
		w.t.Fatal(err)
	}
	return w.prepare(c)
}

// With no byte free one can look, stop and delete, a daemon starts, and what was
// noted is recorded when there is room.
func TestNoByteFree(t *testing.T) {
	w := newFullWorld(t)
	w.mustStart()
	w.create("a", true)
	w.create("b", true)
	w.fill(0)
	w.kill9()
	w.mustStart()
	for _, v := range []string{"a", "b"} {
		if now := w.show(v); now == nil || now.State != vm.Running {
			t.Fatalf("%s is %+v", v, now)
		}
	}
	var log strings.Builder
	if err := w.client.VMLogs(w.ctx(), "a", api.Logs{}, &log); err != nil || log.Len() == 0 {
		t.Errorf("logs: %q, %v", log.String(), err)
	}
	if v, err := w.client.StopVM(w.ctx(), "a", api.Stop{}, nil); err != nil || v.State != vm.Stopped {
		t.Errorf("stop: %+v, %v", v, err)
	}
	if _, err := w.client.DeleteVM(w.ctx(), "b", api.Delete{Force: true}, nil); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := w.client.StartVM(w.ctx(), "a", api.Start{Force: true}, nil); code(err) != api.CodeNoSpace {
		t.Logf("start: %v", err) // the deletion may have made room
	}
	w.fill(-1)
	w.check()
}

// A daemon on a state directory that can't be written says so, and what is there
// is as it was when it can be again.
func TestReadOnly(t *testing.T) {
	w := newFullWorld(t)
	w.mustStart()
	w.create("a", false)
	w.stop()
	dir := filepath.Join(w.dir, "s")
	remount := func(flags uintptr) {
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(unix.MS_RDONLY)
	if err := w.start(); err == nil || !strings.Contains(err.Error(), "read-only") || !strings.Contains(err.Error(), w.state()) {
		t.Errorf("a daemon on a read-only directory: %v", err)
	}
	<-w.ended
	remount(0)
	w.mustStart()
	if now := w.show("a"); now == nil || now.State != vm.Created {
		t.Errorf("a is %+v", now)
	}
	w.check()
}

// The state directory is gone: what runs is not ended for that.
func TestVanishedState(t *testing.T) {
	w := newWorld(t)
	w.mustStart()
	v := w.create("a", true)
	away := w.state() + ".away"
	if err := os.Rename(w.state(), away); err != nil {
		t.Fatal(err)
	}
	w.kill9()
	if err := os.Rename(away, w.state()); err != nil {
		t.Fatal(err)
	}
	w.mustStart()
	if now := w.show("a"); now == nil || now.BootID != v.BootID {
		t.Errorf("it is %+v", now)
	}
	w.check()
	if err := syscall.Kill(v.VMM.PID, 0); err != nil {
		t.Errorf("its VMM: %v", err)
	}
}
