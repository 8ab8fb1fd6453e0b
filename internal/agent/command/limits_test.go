package command

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestG1LoginLimits(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"group": "root:x:0:\nalice:x:1000:\naudio:x:29:alice,bob\n",
		"limits.conf": "# a comment\n* soft nofile 2000 # more\n* hard nofile 3000\n@audio - rtprio 95\n" +
			"alice soft nofile 4000\n* soft nofile 5000\nroot hard core 7\n1000:1999 hard nproc 50\n" +
			":1001 - cpu 2\n@29:29 - memlock unlimited\nnot a line\n* soft nosuch 1\n* soft stack -5\n* middle stack 5\n",
		"d/b.conf": "@audio - nice -11\nroot - fsize 1\n",
		"d/a.conf": "root - fsize 2\n",
		"d/c.txt":  "* - data 1\n",
		"none":     "alice -\n* - nproc 3\n",
	} {
		path := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const all = unix.RLIM_INFINITY
	alice := account{name: "alice", uid: 1000, gid: 1000, groups: []uint32{1000, 29}}
	for name, c := range map[string]struct {
		who  account
		file string
		want map[string][2]uint64 // 0 is not set
	}{
		"alice": {alice, "limits.conf", map[string][2]uint64{
			"nofile": {4000, 3000}, "rtprio": {95, 95}, "nproc": {0, 50}, "memlock": {all, all}, "nice": {31, 31}}},
		"carol": {account{name: "carol", uid: 1001, gid: 1001, groups: []uint32{1001}}, "limits.conf", map[string][2]uint64{
			"nofile": {5000, 3000}, "nproc": {0, 50}, "cpu": {120, 120}}},
		"root": {account{name: "root", own: true}, "limits.conf", map[string][2]uint64{
			"core": {0, 7 << 10}, "fsize": {1 << 10, 1 << 10}}},
		"set free": {alice, "none", nil},
		"no file":  {account{name: "x", uid: 5000}, "gone", nil},
	} {
		got := c.who.loginLimits(filepath.Join(dir, "group"), filepath.Join(dir, c.file), filepath.Join(dir, "d/*.conf"))
		if c.want == nil && len(got) > 0 {
			t.Errorf("%s has %d limits, want none", name, len(got))
		}
		for item, res := range resources {
			var have [2]uint64
			if l := got[res]; l != nil {
				have = [2]uint64{l[0].value, l[1].value}
			}
			if c.want != nil && have != c.want[item] {
				t.Errorf("%s has %v of %s, want %v", name, have, item, c.want[item])
			}
		}
	}
}

// A process has its limits when it begins, and ends as any other.
func TestG1StartLimited(t *testing.T) {
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	set := limits{}
	set.set(aUsers, "soft", "nofile", "77")
	set.set(aUsers, "hard", "nofile", "88")
	var p *os.Process
	err = withoutAdvantages(func() (err error) {
		p, err = startLimited("/bin/sh", []string{"sh", "-c", "echo $(ulimit -Sn) $(ulimit -Hn); kill -9 $$"},
			&os.ProcAttr{Files: []*os.File{nil, w, nil}, Sys: &syscall.SysProcAttr{Setsid: true}}, set)
		return err
	})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(r)
	state, err := p.Wait()
	if err != nil || strings.TrimSpace(string(text)) != "77 88" || !state.Sys().(syscall.WaitStatus).Signaled() {
		t.Errorf("it says %q and ended with %v, %v; want 77 88 and its signal", text, state, err)
	}
}
