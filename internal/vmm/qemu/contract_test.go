//go:build vmtest

package qemu

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/vm"
	"banger/internal/vmm"
	"banger/internal/vmm/vmmtest"
)

func TestContract(t *testing.T) {
	kernel, initrd := os.Getenv("BANGER_TEST_KERNEL"), os.Getenv("BANGER_TEST_INITRD")
	if kernel == "" || initrd == "" {
		t.Skip("BANGER_TEST_KERNEL and BANGER_TEST_INITRD are not set: no guest to boot")
	}
	if p := testDriver().Probe(t.Context()); !p.Usable {
		t.Skipf("QEMU can't be used: %s", p.Why)
	}
	vmmtest.Run(t, vmmtest.Config{
		New:    func() vmm.Driver { return testDriver() },
		Kernel: kernel,
		Initrd: initrd,
		// A panic is a reset too: Debian's kernel has pvpanic as a module, and
		// panic=-1 resets.
		Ends: map[string]string{"reset": "reset", "poweroff": "shutdown", "panic": "reset"},
	})
}

// A disk that one machine writes is nobody else's: QEMU's own locks keep a
// second machine from it, and the message names it.
func TestWritableDiskIsNotShared(t *testing.T) {
	kernel, initrd := os.Getenv("BANGER_TEST_KERNEL"), os.Getenv("BANGER_TEST_INITRD")
	if kernel == "" || initrd == "" {
		t.Skip("BANGER_TEST_KERNEL and BANGER_TEST_INITRD are not set: no guest to boot")
	}
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := vmm.Spec{ID: vm.NewID(), VCPUs: 1, MemMiB: 128, Kernel: kernel, Initrd: initrd, Disks: []vmm.Disk{{Path: disk}}}
	first, err := testDriver().Launch(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := testDriver().Launch(t.Context(), spec)
	if err == nil {
		second.Close()
		t.Fatal("a second machine has the disk that the first one writes")
	}
	if !strings.Contains(err.Error(), "lock") {
		t.Errorf("Launch: %v, want QEMU's word of a lock", err)
	}
	first.Close()
	third, err := testDriver().Launch(t.Context(), spec)
	if err != nil {
		t.Fatalf("Launch after the first one's end: %v", err)
	}
	third.Close()
}
