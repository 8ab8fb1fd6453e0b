//go:build smoketest

// Package scenario_test drives the programs in the test host, with real KVM.
// Each script is a scenario, and runs once on each VMM. Test/smoke builds these
// tests, takes them into the test host and runs them there.
package scenario_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"banger/test/day"
	"banger/test/harness"
)

// guests at once are what the test host's memory takes.
const guests = 6

func Test(t *testing.T) {
	image := os.Getenv("BANGER_TEST_IMAGE")
	if image == day.Image {
		if err := day.Ensure(t.Context(), filepath.Join(os.Getenv("BANGER_TEST_BIN"), "banger")); err != nil {
			t.Fatal(err)
		}
	}
	vmms := []harness.VMM{{Name: "firecracker"}, {Name: "qemu"}}
	if _, err := exec.LookPath("firecracker"); err != nil {
		vmms[0].Missing = "there is no Firecracker: neither $BANGER_TEST_FIRECRACKER nor PATH has one"
	}
	harness.RunWith(t, harness.Options{
		VMMs: vmms, Guests: guests, Host: true, Papers: papers,
		Image: image, User: os.Getenv("BANGER_TEST_USER"), Phase: os.Getenv("BANGER_TEST_PHASE"), Between: os.Getenv("BANGER_TEST_BETWEEN"),
	})
}

// papers is what the test host knows: its journal, its processes and sockets.
func papers(since time.Time) string {
	out := ""
	for _, line := range []string{
		fmt.Sprintf("journalctl --no-pager --lines=120 --since=@%d", since.Unix()),
		"ps -e f -o pid,ppid,user,stat,etime,rss,args | grep -v ']$'",
		"ss -xlp | grep -i banger",
		"free -m; df -h /; lsmod | grep kvm; ls -l /dev/kvm",
	} {
		text, _ := exec.Command("sh", "-c", line).CombinedOutput()
		out += fmt.Sprintf("== %s\n%s\n", line, text)
	}
	return out
}
