//go:build vmtest

package vm_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"banger/test/harness"
)

var cuts = flag.Int("cuts", 3, "rounds of TestG6")

// TestG6 kills the VMM, as a cut of the host's power would end it, at a random moment of a
// VM's first boot, of its disk's growth and of a trim. The next boot has to come up with
// all that was synced, on a root as large as was asked for, and without a word of damage.
func TestG6(t *testing.T) {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("go test -args -cuts %d -seed %d", *cuts, s)
	r := rand.New(rand.NewPCG(s, 3))
	g := newGuests(t, r)
	size := 8
	during := []struct {
		name string
		do   []string // "" is the size in GiB
		last time.Duration
	}{
		{"the first boot", []string{"vm", "start", "-q", "root"}, 4 * time.Second},
		{"growth", []string{"vm", "set", "root", "--disk-size", ""}, time.Second},
		{"a trim", []string{"vm", "exec", "root", "--", "sh", "-c", "for i in 1 2 3; do head -c 30000000 /dev/urandom >/root/more; sync; rm /root/more; sync; fstrim /; done"}, 3 * time.Second},
	}
	counts := map[string]int{}
	for n := range *cuts {
		d := during[n%len(during)]
		switch d.name {
		case "the first boot":
			if n > 0 {
				g.must("vm", "delete", "-f", "--discard", "root")
			}
			size = 8
			g.must("vm", "create", "--no-start", "--memory", "512M", "--name", "root")
		case "growth":
			size += 1 + r.IntN(40)
		}
		args := append([]string{}, d.do...)
		if last := len(args) - 1; args[last] == "" {
			args[last] = fmt.Sprintf("%dG", size)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		cmd := g.command(ctx, args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if d.name == "the first boot" { // there is a VMM only some time after its beginning
			for g.show("root").VMM.PID == 0 {
				time.Sleep(20 * time.Millisecond)
			}
		}
		at := time.Duration(r.Int64N(int64(d.last)))
		time.Sleep(at)
		pid := g.show("root").VMM.PID
		if pid > 0 {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		cmd.Wait()
		cancel()
		counts[d.name]++
		for end := time.Now().Add(patience); g.show("root").VMM.PID == pid && pid > 0; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the VMM %d is still there", pid)
			}
		}
		if d.name == "growth" { // it may have been killed before it was recorded
			g.must("vm", "set", "root", "--disk-size", fmt.Sprintf("%dG", size))
		}
		what := fmt.Sprintf("round %d: VMM killed %v into %s", n+1, at.Round(time.Millisecond), d.name)
		g.must("vm", "start", "-q", "root")
		out := string(g.must("vm", "exec", "root", "--", "sh", "-c", `test ! -e /root/sums || sha256sum -c --quiet /root/sums
			df -BG --output=size / | tail -1; dmesg | grep -iE 'EXT4-fs.*(error|warning)|device-mapper:.*(metadata|corrupt|needs.check)|I/O error' | grep -v 'growing the' || true
			head -c 3000000 /dev/urandom >/root/kept; sha256sum /root/kept /bin/bash >/root/sums; sync`))
		lines := strings.Split(strings.TrimSpace(out), "\n")
		// ext4's own tables take a hundredth or so of what df shows.
		if got := strings.TrimSpace(lines[0]); got != fmt.Sprintf("%dG", size) || len(lines) > 1 {
			t.Fatalf("%s: the next boot says\n%s\nwant a root of %dG and nothing else", what, out, size)
		}
	}
	t.Logf("figures: %d VMMs killed during %v; each next boot had all that was synced", *cuts, counts)
	g.must("vm", "delete", "-f", "--discard", "root")
	g.must("daemon", "stop")
	if left := harness.Processes(g.dir); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}
