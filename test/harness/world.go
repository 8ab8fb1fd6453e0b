package harness

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A world is a host's network that a script may change: a network namespace for the programs
// under test, and one that is the internet to them, in which the harness serves. /etc and the
// administrator's certificates are the script's own copies.
//
//	host's namespace                     the internet's
//	wan0 192.0.2.2, 2001:db8:77::2  ───  192.0.2.1, 2001:db8:77::1: nameserver, proxies
//	vpn0 10.99.0.2                  ───  10.99.0.1
//	                                     93.184.216.34 and .35, 2606:4700:4700::1111: sites
//	                                     198.51.100.53: another nameserver; 10.20.30.40, .41: private
type theWorld struct {
	net    netns.NsHandle // the internet's
	log    string         // the file in which the proxies write
	ca     *authority
	closes []io.Closer
}

// worldScript makes the mounts of the host's namespace, says so, and ends with its input.
const worldScript = `set -e
mount --make-rprivate /
mount -t tmpfs none "$1"
cp -a /etc "$1/etc"
rm -f "$1/etc/resolv.conf"
printf 'nameserver 192.0.2.1\noptions timeout:1 attempts:1\n' >"$1/etc/resolv.conf"
mkdir -p "$1/share/ca-certificates"
cp "$2" "$1/share/ca-certificates/world.crt"
mount --bind "$1/etc" /etc
mount --bind "$1/share" /usr/local/share
if test -d /run/dbus; then mount -t tmpfs none /run/dbus; fi
echo ready
exec cat >/dev/null`

// makeWorld makes a world, which ends with the script. What the program "in" starts is in the
// host's namespace. $PROXY_LOG is what the proxies were asked, a line each.
func makeWorld(s *state, ts *testscript.TestScript, _ []string) {
	if os.Getuid() != 0 {
		ts.Fatalf("world needs root: it makes namespaces")
	}
	dir := filepath.Join(s.work, "world")
	ts.Check(os.MkdirAll(filepath.Join(dir, "mnt"), 0o700))
	w := &theWorld{log: filepath.Join(dir, "proxy.log")}
	ts.Defer(w.close)
	var err error
	w.ca, err = newAuthority(filepath.Join(dir, "ca.crt"))
	ts.Check(err)
	pid, err := w.hold(dir)
	ts.Check(err)
	ts.Check(w.connect(pid))
	ts.Check(w.inside(w.serve))
	in := fmt.Sprintf("#!/bin/sh\nexec nsenter -t %d -m -n -w\"$PWD\" -- \"$@\"\n", pid)
	ts.Check(os.WriteFile(filepath.Join(dir, "in"), []byte(in), 0o700))
	ts.Setenv("PATH", dir+":"+ts.Getenv("PATH"))
	ts.Setenv("PROXY_LOG", w.log)
}

func (w *theWorld) close() {
	for i := len(w.closes) - 1; i >= 0; i-- {
		w.closes[i].Close()
	}
}

// holder is the process that has the host's namespace.
type holder struct {
	cmd *exec.Cmd
	in  io.Closer
}

func (h holder) Close() error {
	h.in.Close()
	return h.cmd.Wait()
}

// hold starts that process.
func (w *theWorld) hold(dir string) (pid int, err error) {
	cmd := exec.Command("/bin/sh", "-c", worldScript, "world", filepath.Join(dir, "mnt"), filepath.Join(dir, "ca.crt"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	w.closes = append(w.closes, holder{cmd, in})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		return 0, fmt.Errorf("make the world's mounts: %q, %v", line, err)
	}
	return cmd.Process.Pid, nil
}

// inside runs f in a thread of the internet's namespace: sockets that f makes are there.
func (w *theWorld) inside(f func() error) error {
	done := make(chan error, 1)
	go func() { // ends with f
		runtime.LockOSThread() // the thread ends with this goroutine
		if err := netns.Set(w.net); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// connect joins the two namespaces and gives them their addresses and routes.
func (w *theWorld) connect(pid int) error {
	made := make(chan error, 1)
	go func() { // ends at once
		runtime.LockOSThread() // the thread ends with this goroutine
		var err error
		w.net, err = netns.New()
		made <- err
	}()
	if err := <-made; err != nil {
		return err
	}
	w.closes = append(w.closes, closer(func() error { return w.net.Close() }))
	host, err := netns.GetFromPid(pid)
	if err != nil {
		return err
	}
	defer host.Close()
	hh, err := netlink.NewHandleAt(host)
	if err != nil {
		return err
	}
	defer hh.Close()
	nh, err := netlink.NewHandleAt(w.net)
	if err != nil {
		return err
	}
	defer nh.Close()
	for _, name := range []string{"wan0", "vpn0"} {
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name, PeerNamespace: netlink.NsFd(w.net)}
		if err := hh.LinkAdd(pair); err != nil {
			return fmt.Errorf("make %s: %w", name, err)
		}
	}
	return errors.Join(
		up(hh, "lo"), up(hh, "wan0", "192.0.2.2/24", "2001:db8:77::2/64"), up(hh, "vpn0", "10.99.0.2/24"),
		up(nh, "lo", "93.184.216.34/32", "93.184.216.35/32", "2606:4700:4700::1111/128", "198.51.100.53/32", "10.20.30.40/32", "10.20.30.41/32"),
		up(nh, "wan0", "192.0.2.1/24", "2001:db8:77::1/64"), up(nh, "vpn0", "10.99.0.1/24"),
		toDefault(hh, "192.0.2.1"), toDefault(hh, "2001:db8:77::1"),
	)
}

func up(h *netlink.Handle, name string, addrs ...string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		if addr.IP.To4() == nil {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := h.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("add %s to %s: %w", a, name, err)
		}
	}
	return h.LinkSetUp(link)
}

func toDefault(h *netlink.Handle, via string) error {
	link, err := h.LinkByName("wan0")
	if err != nil {
		return err
	}
	return h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(via)})
}

type closer func() error

func (c closer) Close() error { return c() }
