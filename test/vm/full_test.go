//go:build vmtest

package vm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/rootdisk"
)

// TestL11 lets a guest meet the end of the host's disk: it waits, which is shown,
// and goes on by itself when there is room. Meanwhile one can look at VMs, and
// stop and delete them. Work of a guest comes out to a pipe with no byte free. Then the
// guest fills its own disk.
func TestL11(t *testing.T) {
	g := newGuests(t, rand.New(rand.NewPCG(1, 0)))
	state := filepath.Join(g.dir, "state")
	if err := unix.Mount("full", state, "tmpfs", 0, "size=4g,mode=0700"); err != nil {
		t.Skipf("a file system of its own, which needs root: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(state, unix.MNT_DETACH) })
	g.must("vm", "create", "--memory", "512M", "--disk-size", "1G", "--name", "writer")
	g.must("vm", "create", "--memory", "256M", "--name", "other")
	boot := g.show("writer").BootID
	filler := filepath.Join(state, "filler")
	fill(t, filler, 8<<20)

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	write := g.command(ctx, "vm", "exec", "writer", "--", "sh", "-c", "head -c 64M /dev/urandom >/root/big && sync /root/big && sha256sum </root/big")
	var out, errs bytes.Buffer
	write.Stdout, write.Stderr = &out, &errs
	if err := write.Start(); err != nil {
		t.Fatal(err)
	}
	var v struct {
		State, Held string
	}
	for begin := time.Now(); v.Held == ""; time.Sleep(100 * time.Millisecond) {
		if time.Since(begin) > patience {
			t.Fatal("a guest that has no room is not shown so")
		}
		if err := json.Unmarshal(g.must("vm", "show", "--json", "writer"), &v); err != nil {
			t.Fatal(err)
		}
	}
	if v.State != "paused" || !strings.Contains(v.Held, "full") && !strings.Contains(v.Held, "space") {
		t.Errorf("a guest that has no room is shown as %+v", v)
	}
	if list := g.must("vm", "list"); !bytes.Contains(list, []byte("paused")) {
		t.Errorf("list:\n%s", list)
	}
	fill(t, filler+"-2", 0) // beside the first: the guest waits for room
	g.must("vm", "logs", "writer")
	g.must("vm", "stop", "other")
	g.must("vm", "delete", "other")
	for _, path := range []string{filler, filler + "-2"} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := write.Wait(); err != nil || len(out.String()) < 64 {
		t.Errorf("the command in the guest: %v\n%s%s", err, &out, &errs)
	}
	if now := g.show("writer"); now.State != "running" || now.BootID != boot {
		t.Errorf("the guest afterwards: %+v", now)
	}
	again := g.must("vm", "exec", "writer", "--", "sh", "-c", "sync; echo 3 >/proc/sys/vm/drop_caches; sha256sum </root/big")
	if !bytes.Equal(again, out.Bytes()) {
		t.Errorf("what it wrote is %s, was %s", again, &out)
	}
	g.exportFull(state, filler)
	g.fillRoot(again)
	g.must("vm", "delete", "-f", "--discard", "writer")
	g.must("daemon", "stop")
}

// exportFull exports the work of VM writer with no byte free. The guest's disk has all of
// its blocks by then: what has no room is the host.
func (g *guests) exportFull(state, filler string) {
	g.t.Helper()
	repo := filepath.Join(g.dir, "repo")
	script := "git init -q \"$1\"; cd \"$1\"; echo 1 >f; git add f; git -c user.name=u -c user.email=u@example.org commit -qm one"
	if out, err := exec.Command("sh", "-euc", script, "sh", repo).CombinedOutput(); err != nil {
		g.t.Fatalf("make a repository: %v\n%s", err, out)
	}
	g.must("vm", "workspace", "prepare", "writer", repo)
	g.must("vm", "exec", "writer", "--", "sh", "-c", "echo late >late; sync")
	var v struct {
		Dir      string
		NotSaved string `json:"not_saved"`
	}
	show := func() {
		v.NotSaved = ""
		if err := json.Unmarshal(g.must("vm", "show", "--json", "writer"), &v); err != nil {
			g.t.Fatal(err)
		}
	}
	show()
	disk, err := os.OpenFile(filepath.Join(v.Dir, "disk"), os.O_RDWR, 0)
	if err != nil {
		g.t.Fatal(err)
	}
	defer disk.Close()
	if err := unix.Fallocate(int(disk.Fd()), unix.FALLOC_FL_KEEP_SIZE, rootdisk.DataAt, 1<<30); err != nil {
		g.t.Fatal(err)
	}
	fill(g.t, filler, 0)
	if patch := g.must("vm", "workspace", "export", "writer"); !bytes.Contains(patch, []byte("+late")) {
		g.t.Errorf("export with no byte free:\n%s", patch)
	}
	if show(); !strings.Contains(strings.ToLower(v.NotSaved), "no space") {
		g.t.Errorf("work that there was no room for is called saved: %q", v.NotSaved)
	}
	if err := os.Remove(filler); err != nil {
		g.t.Fatal(err)
	}
	g.must("vm", "workspace", "export", "writer")
	if show(); v.NotSaved != "" {
		g.t.Errorf("saved, when there is room: %q", v.NotSaved)
	}
}

// fillRoot fills the root of VM writer whole: its pool has room for all of it and for what
// it notes of it, and a boot after that finds what was synced.
func (g *guests) fillRoot(sum []byte) {
	g.t.Helper()
	const poolStatus = "dmsetup status banger-pool"
	out := string(g.must("vm", "exec", "-w", "/", "writer", "--", "sh", "-c", `dd if=/dev/zero of=/fill bs=1M 2>&1; sync; `+poolStatus))
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var at, end, id, metadata, metadataRoom, data, room int64
	pool := lines[len(lines)-1]
	if _, err := fmt.Sscanf(pool, "%d %d thin-pool %d %d/%d %d/%d", &at, &end, &id, &metadata, &metadataRoom, &data, &room); err != nil {
		g.t.Fatalf("the pool's status %q: %v", pool, err)
	}
	if !strings.Contains(out, "No space left on device") || !strings.Contains(pool, " rw ") || data < room/2 || metadata > metadataRoom/2 {
		g.t.Errorf("a root that is full:\n%s", out)
	}
	g.kill("writer")
	g.must("vm", "start", "-q", "writer")
	after := g.must("vm", "exec", "-w", "/", "writer", "--", "sh", "-c", "rm /fill; sync; sha256sum </root/big; "+poolStatus)
	if !bytes.HasPrefix(after, sum) || !bytes.Contains(after, []byte(" rw ")) {
		g.t.Errorf("after the next boot: %s; /root/big was %s", after, sum)
	}
	g.wantDisk("writer", "")
}

// fill leaves so many bytes of the file system.
func fill(t *testing.T, path string, free int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Statfs_t
	for {
		if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		n := int64(st.Bavail)*st.Bsize - free
		if n <= 0 || unix.Fallocate(int(f.Fd()), 0, 0, n) == nil {
			return
		}
	}
}
