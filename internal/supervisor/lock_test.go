package supervisor

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/vm"
)

// A lock whose file takes no byte is held all the same.
func TestLockThatCanNotBeWritten(t *testing.T) {
	dir := t.TempDir()
	lock, err := TakeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	lock.Close()
	f, err := os.Open(filepath.Join(dir, LockFile)) // for reading: a write is EBADF
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(f.Fd())) // the keeper's
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	kept, err := keepLock(fd, vm.Process{PID: 1})
	if err != nil {
		t.Fatalf("keepLock: %v, want the lock held", err)
	}
	if held, by, err := Held(dir); !held || by != nil || err != nil {
		t.Errorf("Held = %v, %v, %v; want it held by nobody named", held, by, err)
	}
	kept.Close()
	if held, _, err := Held(dir); held || err != nil {
		t.Errorf("after Close Held = %v, %v", held, err)
	}
}
