//go:build vmtest

package vm_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"banger/internal/rootdisk"
	"banger/test/harness"
)

var diskErrors = flag.Int("errors", 2, "rounds of TestG6Errors")

// failing is what a VM's disk does in a round.
type failing struct {
	flush bool // a flush fails, else a write
	nth   int
	ever  bool // and all that follow
	told  bool // the guest is told; else the VMM holds it still
}

func (f failing) String() string {
	what, then, who := "write", "", "the VMM holds the guest"
	if f.flush {
		what = "flush"
	}
	if f.ever {
		then = " and all after it"
	}
	if f.told {
		who = "the guest is told"
	}
	return fmt.Sprintf("%s %d%s fails, %s", what, f.nth, then, who)
}

// rules are those of QEMU's blkdebug (docs/devel/blkdebug.rst): a state counts events.
func (f failing) rules() string {
	event, kind := "pwritev", "write"
	if f.flush {
		event, kind = "flush_to_disk", "flush"
	}
	var count []map[string]any
	for n := 1; n < f.nth; n++ {
		count = append(count, map[string]any{"event": event, "state": n, "new_state": n + 1})
	}
	rules := map[string]any{"inject-error": []map[string]any{{"event": event, "iotype": kind, "state": f.nth, "once": !f.ever, "errno": int(syscall.EIO)}}}
	if count != nil {
		rules["set-state"] = count
	}
	text, err := json.Marshal(rules)
	if err != nil {
		panic(err) // they are strings and numbers
	}
	return strings.Trim(string(text), "{}")
}

// qemu stands in PATH before the real one, and puts blkdebug beneath the VM's own disk.
const qemu = `#!/bin/sh
rules='%s'
for a do
	shift
	case $a in
	*'"node-name":"disk1"'*)
		if [ -n "$rules" ]; then
			file=${a#*'"file":'}
			a=${a%%%%'"file":'*}'"file":{"driver":"blkdebug",'$rules',"image":'${file%%\}}'}}'
		fi ;;
	virtio-blk-pci,*,werror=stop) %s ;;
	esac
	set -- "$@" "$a"
done
exec '%s' "$@"
`

// records is what a guest writes: each is a file of new blocks, and said when it is synced.
const records = `for i in 1 2 3 4 5 6 7 8; do
	head -c 1500000 /dev/urandom >/root/$1-$i && sync /root/$1-$i && sync /root && s=$(sha256sum </root/$1-$i) && echo "${s%% *}  /root/$1-$i" || exit 9
	sleep 0.3
done`

// TestG6Errors fails a write or a flush of a VM's disk, the power goes, and the next boot
// has all that was synced. A guest that was told of the error shows it; one that the VMM
// held still never learns of it. A pool that the kernel has marked as one to be checked is
// checked at the next boot; one whose superblock is lost is refused, and repaired on
// demand.
func TestG6Errors(t *testing.T) {
	real, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Skip(err)
	}
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("go test -args -errors %d -seed %d", *diskErrors, s)
	r := rand.New(rand.NewPCG(s, 4))
	g := newGuests(t, r)
	dir := filepath.Join(g.dir, "qemu")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	put := func(rules, told string) {
		t.Helper()
		text := fmt.Sprintf(qemu, rules, told, real)
		if err := os.WriteFile(filepath.Join(dir, "new"), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, filepath.Base(real))); err != nil {
			t.Fatal(err)
		}
	}
	put("", ":")
	g.must("vm", "create", "--no-start", "--vmm", "qemu", "--memory", "512M", "--name", "errs")
	synced, told, held, damaged := []string{}, 0, 0, 0
	for n := range *diskErrors {
		f := failing{flush: r.IntN(3) == 0, nth: 1 + r.IntN(150), ever: r.IntN(2) == 0, told: n%3 < 2}
		if f.flush {
			f.nth = 1 + r.IntN(40)
		}
		report := ":"
		if f.told {
			report = "a=${a%stop}report"
		}
		put(f.rules(), report)
		said, seen := g.withErrors(f, fmt.Sprint("r", n))
		synced = append(synced, said...)
		if seen && f.told {
			told++
		} else if seen {
			held++
		}
		put("", ":")
		switch n % 3 {
		case 0:
			want := ""
			g.superblock(func(b []byte) {
				if binary.LittleEndian.Uint64(b[32:]) == poolMagic { // else the first boot was cut before there was a pool
					b[4] |= 1
					want = "checked"
				}
			})
			out, err := g.start("errs")
			if err == nil {
				g.wantDisk("errs", want)
				break
			}
			// Seen once, of a first boot; why is not known.
			t.Logf("after %v: %s", f, out)
			g.repair("errs", out)
			damaged++
		case 1:
			g.superblock(func(b []byte) { clear(b) })
			out, err := g.start("errs")
			if err == nil {
				t.Fatalf("a pool without its superblock is started")
			}
			g.repair("errs", out)
		default:
			g.must("vm", "start", "-q", "errs")
		}
		check := "sha256sum -c --quiet <<E\n" + strings.Join(synced, "\n") + "\nE\nrm -f /root/r*; sync"
		if len(synced) > 0 {
			g.must("vm", "exec", "errs", "--", "sh", "-c", check)
		}
		synced = nil
		g.kill("errs")
		t.Logf("round %d: %v: %d records were synced", n+1, f, len(said))
	}
	t.Logf("figures: %d errors of disks, %d that the guest was told of, %d for which it was held, %d that damaged the pool; each next boot had all that was synced", *diskErrors, told, held, damaged)
	g.must("vm", "delete", "-f", "--discard", "errs")
	g.must("daemon", "stop")
	if left := harness.Processes(g.dir); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}

// withErrors lets a guest write on a failing disk until it can't, or has written enough,
// and cuts its power. It returns the records that it said were synced, and whether the
// error was seen.
func (g *guests) withErrors(f failing, name string) (said []string, seen bool) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var v struct {
		State, Held string
		DiskState   string `json:"disk_state"`
		VMM         struct{ PID int }
	}
	look := func() {
		v.State, v.Held, v.DiskState, v.VMM.PID = "", "", "", 0
		if err := json.Unmarshal(g.must("vm", "show", "--json", "errs"), &v); err != nil {
			g.t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	var out strings.Builder
	go func() { // ends with its commands, which end with ctx or the VMM
		err := g.command(ctx, "vm", "start", "-q", "errs").Run()
		if err == nil {
			write := g.command(ctx, "vm", "exec", "errs", "--", "sh", "-c", records, "sh", name)
			write.Stdout = &out
			err = write.Run()
		}
		done <- err
	}()
	var err error
	over := false
	for !over && !(seen && f.ever && !f.told) {
		select {
		case err = <-done:
			over = true
		case <-time.After(100 * time.Millisecond):
		}
		look()
		seen = seen || v.Held != ""
	}
	switch {
	case f.told && err != nil && v.State == "running":
		for begin := time.Now(); v.DiskState == "" && time.Since(begin) < patience; time.Sleep(100 * time.Millisecond) {
			look()
		}
		if seen = v.DiskState == "errors" || v.DiskState == "read-only"; !seen {
			g.t.Errorf("%v: its writes: %v; what is shown is %q", f, err, v.DiskState)
		}
	case f.told:
	case err != nil || v.DiskState != "":
		g.t.Errorf("%v: the guest learned of it: %v, %q\n%s", f, err, v.DiskState, &out)
	case !over && !strings.Contains(v.Held, "Input/output error"):
		g.t.Errorf("%v: it is held for %q", f, v.Held)
	}
	g.kill("errs")
	if !over {
		<-done
	}
	for line := range strings.Lines(out.String()) {
		if strings.HasSuffix(line, "\n") {
			said = append(said, strings.TrimSpace(line))
		}
	}
	return said, seen
}

// kill ends a VMM as a cut of the power would, and waits for its end.
func (g *guests) kill(name string) {
	g.t.Helper()
	pid := g.show(name).VMM.PID
	if pid > 0 {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	for end := time.Now().Add(patience); g.show(name).VMM.PID == pid && pid > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			g.t.Fatalf("the VMM %d is still there", pid)
		}
	}
}

// poolMagic is in a pool's superblock (drivers/md/dm-thin-metadata.c).
const poolMagic = 27022010

// start starts a VM, and returns what is said.
func (g *guests) start(name string) (said string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := g.command(ctx, "vm", "start", "-q", name).CombinedOutput()
	return string(out), err
}

// repair does what a refused start said.
func (g *guests) repair(name, said string) {
	g.t.Helper()
	if !strings.Contains(said, "banger vm start --repair "+name) {
		g.t.Fatalf("no repair is named: %s", said)
	}
	g.must("vm", "start", "-q", "--repair", name)
	g.wantDisk(name, "repaired")
}

// superblock changes the superblock of the pool on the disk, and its checksum with it.
func (g *guests) superblock(change func(block []byte)) {
	g.t.Helper()
	var v struct{ Dir string }
	if err := json.Unmarshal(g.must("vm", "show", "--json", "errs"), &v); err != nil {
		g.t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(v.Dir, "disk"), os.O_RDWR, 0)
	if err != nil {
		g.t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 4096)
	if _, err := f.ReadAt(b, rootdisk.MetadataAt); err != nil {
		g.t.Fatal(err)
	}
	if change(b); binary.LittleEndian.Uint64(b[32:]) == poolMagic { // the kernel's checksum of a superblock
		sum := ^crc32.Checksum(b[4:], crc32.MakeTable(crc32.Castagnoli)) ^ 160774
		binary.LittleEndian.PutUint32(b, sum)
	}
	if _, err := f.WriteAt(b, rootdisk.MetadataAt); err != nil {
		g.t.Fatal(err)
	}
}

// wantDisk wants what is shown of a VM's disk.
func (g *guests) wantDisk(name, want string) {
	g.t.Helper()
	var v struct {
		DiskState string `json:"disk_state"`
	}
	if err := json.Unmarshal(g.must("vm", "show", "--json", name), &v); err != nil {
		g.t.Fatal(err)
	}
	if v.DiskState != want {
		g.t.Errorf("the disk of %s is %q, want %q", name, v.DiskState, want)
	}
}
