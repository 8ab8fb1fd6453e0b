//go:build vmtest

package firecracker

import (
	"os"
	"testing"

	"banger/internal/vmm"
	"banger/internal/vmm/vmmtest"
)

func TestContract(t *testing.T) {
	kernel, initrd := os.Getenv("BANGER_TEST_KERNEL"), os.Getenv("BANGER_TEST_INITRD")
	if kernel == "" || initrd == "" {
		t.Skip("BANGER_TEST_KERNEL and BANGER_TEST_INITRD are not set: no guest to boot")
	}
	if p := realDriver().Probe(t.Context()); !p.Usable {
		t.Skipf("Firecracker can't be used: %s", p.Why)
	}
	vmmtest.Run(t, vmmtest.Config{
		New:    func() vmm.Driver { return realDriver() },
		Kernel: kernel,
		Initrd: initrd,
		Ends:   map[string]string{"reset": "reset", "poweroff": "shutdown", "panic": "reset"},
	})
}
