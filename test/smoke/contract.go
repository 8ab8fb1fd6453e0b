package main

import (
	"context"
	"fmt"

	"banger/test/smoke/testhost"
)

const (
	contractDir  = "build/smoke/contract" // each driver's tests, and their guest
	contracts    = testhost.Handed + "/contract"
	contractTest = "TestContract"
)

// drivers are held to the contract of package vmm on real KVM, each by its
// suite. The tier vm runs the same on what the machine outside has.
var drivers = []string{"firecracker", "qemu"}

func driverPackage(driver string) string { return "banger/internal/vmm/" + driver }

// contract runs a driver's suite, as a user who may use KVM, with the kernel
// that VMs boot.
func (r *run) contract(ctx context.Context, driver string) error {
	return r.goTest(ctx, testBinary{
		pkg: driverPackage(driver), file: contracts + "/" + driver + ".test", dir: contracts, user: testhost.User, env: environ(),
		pattern: "^" + contractTest + "$",
		setup: fmt.Sprintf(`set -- $HOME/.cache/banger/kernels/*/vmlinux
export BANGER_TEST_KERNEL=$1 BANGER_TEST_INITRD=${1%%/*}/modules.cpio BANGER_TEST_GUEST=%s/guest
`, contracts),
	})
}
