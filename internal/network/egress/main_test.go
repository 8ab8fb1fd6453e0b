package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
)

// insideEnv marks the process whose network is the tests' own.
const insideEnv = "BANGER_TEST_NETWORK"

// noWorld is why there is no network of the tests' own; empty if there is.
var noWorld string

// Addresses that look like any others on the internet, on the loopback device of the tests'
// own network. No other address has a route there.
var (
	publicAddr  = netip.MustParseAddr("93.184.216.34")
	otherAddr   = netip.MustParseAddr("93.184.216.35")
	public6Addr = netip.MustParseAddr("2606:4700:4700::1111")
	lanAddr     = netip.MustParseAddr("10.20.30.40")
	// goneAddr is no address of anybody.
	goneAddr = netip.MustParseAddr("93.184.216.99")
)

// TestMain runs the tests in a network namespace of their own.
func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) == "" {
		code, err := runInside()
		if err == nil {
			os.Exit(code)
		}
		noWorld = err.Error()
	} else if err := makeNetwork(); err != nil {
		fmt.Fprintln(os.Stderr, "make the tests' network:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// runInside runs this program again in new namespaces, and returns its exit status.
func runInside() (int, error) {
	runtime.LockOSThread() // the signal of a parent's death is of its thread's
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("namespaces are not allowed here: %w", err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return 1, nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

func makeNetwork() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	for _, a := range []netip.Addr{publicAddr, otherAddr, public6Addr, lanAddr} {
		addr, err := netlink.ParseAddr(netip.PrefixFrom(a, a.BitLen()).String())
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(lo, addr); err != nil {
			return fmt.Errorf("add %s: %w", a, err)
		}
	}
	// Where it can't be written, pings are skipped.
	os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0)
	return nil
}
