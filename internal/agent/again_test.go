package agent

import (
	"os"
	"path/filepath"
	"testing"
)

func TestKeepAgent(t *testing.T) {
	root := t.TempDir()
	for _, d := range []string{"sbin", "lib/systemd"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"sbin/openrc-init", "lib/systemd/systemd"} {
		if err := os.WriteFile(filepath.Join(root, p), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../lib/systemd/systemd", filepath.Join(root, "sbin/init")); err != nil {
		t.Fatal(err)
	}
	want := filepath.Join(root, unitWant, unitName)
	for init, there := range map[string]bool{"": false, "/sbin/openrc-init": false, "/sbin/init": true} {
		os.RemoveAll(filepath.Join(root, "run"))
		if err := keepAgent(root, init); err != nil {
			t.Fatalf("keepAgent with init %q: %v", init, err)
		}
		if _, err := os.Stat(want); (err == nil) != there {
			t.Errorf("with init %q the unit is wanted: %v, want %t", init, err, there)
		}
	}
}

func TestKilled(t *testing.T) {
	m := newMemory()
	for _, record := range []string{
		"6,1,2,-;usb 1-1: new device\n SUBSYSTEM=usb\n",
		"3,812,9000000,-;Memory cgroup out of memory: Killed process 7 (java) total-vm:9kB, anon-rss:8kB\n",
		"11,812,9000000,-;Out of memory: Killed process 7 (fake) total-vm:9kB, anon-rss:8kB\n", // a process wrote it
	} {
		if m.hear([]byte(record)); m.count != 0 {
			t.Fatalf("%q is a kill", record)
		}
	}
	_, changed := m.last()
	m.hear([]byte("3,812,9000000,-;Out of memory: Killed process 166 (a) (b) total-vm:587476kB, anon-rss:415744kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:1188kB oom_score_adj:0\n"))
	select {
	case <-changed:
	default:
		t.Error("the kill is no change")
	}
	if e, _ := m.last(); e.OutOfMemory == nil || e.OutOfMemory.Kills != 1 || e.OutOfMemory.Process != "a) (b" {
		t.Errorf("last = %+v, want one kill of a) (b", e.OutOfMemory)
	}
}
