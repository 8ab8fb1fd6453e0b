package ballast

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBallast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ballast")
	for range 2 {
		if err := Ensure(path); err != nil {
			t.Fatal(err)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Blocks*512 < Bytes {
		t.Errorf("the ballast has %d blocks, %v", st.Blocks, err)
	}
	if !Drop(path) || Drop(path) {
		t.Error("Drop gives up what is there, once")
	}
	if Ensure(filepath.Join(path, "no", "such")) == nil {
		t.Error("Ensure in no directory: no error")
	}
}
