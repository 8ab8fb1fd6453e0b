//go:build vmtest

package vm_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"

	"banger/test/harness"
)

var (
	hogs      = flag.Int("hogs", 5, "hogs of TestG7")
	hogMemory = flag.String("memory", "512M", "the memory of TestG7's guest")
)

// hogKinds are commands that take memory until the kernel ends it. Perl copies what
// it is given; tail keeps a line that does not end.
var hogKinds = map[string][]string{
	"perl":        {"perl", "-e", "for ($i = 0;; $i++) { push @all, $i x 100000 }"},
	"line":        {"tail", "-n", "1", "/dev/zero"},
	"child":       {"sh", "-c", "perl -e 'for ($i = 0;; $i++) { push @all, $i x 100000 }'; exit $?"},
	"file system": {"sh", "-c", "perl -e 'for ($i = 0;; $i++) { push @all, $i x 100000 }' & head -c 100000000 /dev/urandom >/root/f; sync; wait $!"},
}

// TestG7 lets command after command take more memory than the guest has: each ends
// with 137 and says why, another session goes on, and the next command is answered.
func TestG7(t *testing.T) {
	g := newGuests(t, rand.New(rand.NewPCG(*seed, 2)))
	g.must("vm", "create", "--memory", *hogMemory, "--name", "g7")
	boot := g.show("g7").BootID
	beside := g.write("g7")
	want := "killed: out of memory, the guest has " + *hogMemory + ": --memory"
	kinds := []string{"perl", "line", "child", "file system"}
	var longest time.Duration
	for n := range *hogs {
		kind := kinds[n%len(kinds)]
		ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
		cmd := g.command(ctx, append([]string{"vm", "exec", "g7", "--"}, hogKinds[kind]...)...)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		err := cmd.Run()
		cancel()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 137 || !strings.Contains(errs.String(), want) {
			t.Fatalf("hog %d (%s) ended with %v and said\n%s\nwant status 137 and %q", n+1, kind, err, &errs, want)
		}
		begin := time.Now()
		g.must("vm", "exec", "g7", "--", "true")
		longest = max(longest, time.Since(begin))
		beside.await(t, beside.acked.Load()+1)
	}
	for end := time.Now().Add(patience); ; { // a group goes after its command's status was said
		out := string(g.must("vm", "exec", "g7", "--", "sh", "-c", "ls -d /sys/fs/cgroup/banger/command-*"))
		left := strings.Fields(out)
		if len(left) == 2 { // the writer's, and its own
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the groups of commands are %v, want 2", left)
		}
	}
	if now := g.show("g7"); now.State != "running" || now.BootID != boot {
		t.Errorf("the guest did not go on: it is %+v, its boot id was %s", now, boot)
	}
	t.Logf("figures: %d hogs in a guest of %s, each 137; the next command was answered in %v at the latest", *hogs, *hogMemory, longest.Round(time.Millisecond))
	g.must("vm", "delete", "-f", "--discard", "g7")
	<-beside.over
	g.must("daemon", "stop")
	if left := harness.Processes(g.dir); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}
