package dial

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/hint"
)

// inNamespace runs f on a thread in a network namespace of its own, with loopback
// up. The thread ends with f.
func inNamespace(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { // ends with f
		runtime.LockOSThread() // and is not unlocked: the thread goes with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- errNoNamespace
			return
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			done <- err
			return
		}
		req, err := unix.NewIfreq("lo")
		if err == nil {
			req.SetUint16(unix.IFF_UP)
			err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
		}
		unix.Close(fd)
		if err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	switch err := <-done; {
	case errors.Is(err, errNoNamespace):
		t.Skip("a network namespace of the test's own needs root: pings are not tested")
	case err != nil:
		t.Fatal(err)
	}
}

var errNoNamespace = errors.New("no network namespace")

// groups sets who may ping in the thread's namespace.
func groups(text string) error {
	return os.WriteFile("/proc/thread-self/root/proc/sys/net/ipv4/ping_group_range", []byte(text), 0)
}

func TestPing(t *testing.T) {
	inNamespace(t, func() error {
		if err := groups("0 2147483647"); err != nil {
			return err
		}
		d := &Dialer{Limit: 20 * time.Second}
		for _, to := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1"} {
			for seq, size := range []int{0, 56, 20000} {
				payload := bytes.Repeat([]byte("x"), size)
				r, err := d.Ping(t.Context(), netip.MustParseAddr(to), 4711, uint16(seq), payload)
				if err != nil || r.ID != 4711 || r.Seq != uint16(seq) || !bytes.Equal(r.Payload, payload) || r.Time <= 0 {
					t.Errorf("Ping(%s) with %d bytes = %d, %d, %d bytes, %v, %v", to, size, r.ID, r.Seq, len(r.Payload), r.Time, err)
				}
			}
		}
		// This namespace has no way out.
		if _, err := d.Ping(t.Context(), netip.MustParseAddr("192.0.2.1"), 1, 1, nil); ReasonOf(err) != NoRoute {
			t.Errorf("Ping without a route: %v (%v), want no route", err, ReasonOf(err))
		}
		if _, err := d.Ping(t.Context(), netip.MustParseAddr("127.0.0.1"), 1, 1, make([]byte, maxPing+1)); err == nil {
			t.Error("Ping with too long a payload: no error")
		}
		if err := os.WriteFile("/proc/thread-self/root/proc/sys/net/ipv4/icmp_echo_ignore_all", []byte("1"), 0); err != nil {
			return err
		}
		short := &Dialer{Limit: 200 * time.Millisecond}
		if _, err := short.Ping(t.Context(), netip.MustParseAddr("127.0.0.1"), 1, 1, nil); ReasonOf(err) != TimedOut {
			t.Errorf("Ping of a host that does not answer: %v (%v), want timed out", err, ReasonOf(err))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := d.Ping(ctx, netip.MustParseAddr("127.0.0.1"), 1, 1, nil); ReasonOf(err) != Cancelled {
			t.Errorf("Ping with a cancelled context: %v (%v), want cancelled", err, ReasonOf(err))
		}
		return nil
	})
}

func TestPingThatTheKernelRefuses(t *testing.T) {
	inNamespace(t, func() error {
		if err := groups("1 0"); err != nil {
			return err
		}
		_, err := (&Dialer{}).Ping(t.Context(), netip.MustParseAddr("127.0.0.1"), 1, 1, nil)
		if !errors.Is(err, ErrNoPing) || !strings.Contains(hint.Of(err), "sysctl") || !strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("Ping: %v (hint %q), want ErrNoPing with what to type", err, hint.Of(err))
		}
		return nil
	})
}
