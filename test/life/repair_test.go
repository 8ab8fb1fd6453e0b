//go:build standin

package life

import (
	"errors"
	"path/filepath"
	"testing"

	"banger/internal/api"
	"banger/internal/vm"
)

// A VM that runs is not repaired, and says what to do. One that is stopped keeps what its
// disk's metadata were, each time.
func TestRepair(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustStart()
	v := w.create("a", true)
	repair := func() error {
		_, err := w.client.StartVM(w.ctx(), "a", api.Start{Force: true, Repair: true}, nil)
		return err
	}
	stop := func() {
		t.Helper()
		if _, err := w.client.StopVM(w.ctx(), "a", api.Stop{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	err := repair()
	if f := new(api.Fault); !errors.As(err, &f) || f.Code != api.CodeState || f.Hint != "banger vm stop a" {
		t.Errorf("repair of a VM that runs: %v", err)
	}
	if now := w.show("a"); now == nil || now.State != vm.Running || now.BootID != v.BootID {
		t.Errorf("afterwards it is %+v", now)
	}
	for n := 1; n <= 2; n++ {
		stop()
		if err := repair(); err != nil {
			t.Fatal(err)
		}
		if kept, _ := filepath.Glob(filepath.Join(v.Dir, "disk-metadata-*")); len(kept) != n {
			t.Errorf("after %d repairs there are %q", n, kept)
		}
	}
	w.check()
}
