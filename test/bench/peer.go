package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// peerModule is gvisor-tap-vsock's program: a network in user space for QEMU's own card.
	peerModule = "github.com/containers/gvisor-tap-vsock/cmd/gvproxy@v0.8.7"
	// peerHost is the host's loopback in its network.
	peerHost = "192.168.127.254"
	// peerLink gives the guest's card the address that the peer's network has for it.
	peerLink = "d=$(cd /sys/class/net; ls -d */device | cut -d/ -f1) && ip link set $d up && ip addr add 192.168.127.2/24 dev $d && ip route add default via 192.168.127.1"
)

// peer measures gvisor-tap-vsock in a guest like the measured one, by the same commands. A
// machine that can't get it is told why.
func (x *b) peer() error {
	program, err := peerProgram()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: gvisor-tap-vsock is left out:", err)
		return nil
	}
	l, port, err := serve()
	if err != nil {
		return err
	}
	defer l.Close()
	socket := filepath.Join(x.dir, "peer.sock")
	proxy := exec.Command(program, "-listen-qemu", "unix://"+socket, "-ssh-port", "-1")
	if err := proxy.Start(); err != nil {
		return err
	}
	defer proxy.Wait()
	defer proxy.Process.Kill()
	for limit := time.Now().Add(bootLimit); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		if time.Now().After(limit) {
			return fmt.Errorf("start %s: there is no %s", program, socket)
		}
	}
	disk, err := x.freshDisk("peer")
	if err != nil {
		return err
	}
	defer os.Remove(disk)
	m, err := startQEMU(append(x.bareArgs(disk), "-netdev", "stream,id=peer,server=off,addr.type=unix,addr.path="+socket,
		"-device", "virtio-net-pci,netdev=peer,romfile="), false)
	if err != nil {
		return fmt.Errorf("boot bare: %w", err)
	}
	defer m.close()
	write := "cat >/root/network.pl <<'end'\n" + string(networkScript) + "end\n"
	for _, script := range []string{untilQuiet, peerLink, write} {
		if err := m.run(nothing, "sh", "-c", script); err != nil {
			return err
		}
	}
	f, err := transfers(m.figure, peerHost, port)
	if err != nil {
		return err
	}
	x.add(row{what: "gvisor-tap-vsock on QEMU: 64 MiB down", got: f.down, unit: "MiB/s"})
	x.add(row{what: "gvisor-tap-vsock on QEMU: 64 MiB up", got: f.up, unit: "MiB/s"})
	x.add(row{what: "gvisor-tap-vsock on QEMU: a connection, one after another", got: f.connect, unit: "ms"})
	return nil
}

// peerProgram returns the peer's program, which Go builds in the user's cache, with the
// modules that it was released with.
func peerProgram() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "banger-bench")
	program := filepath.Join(dir, "gvproxy")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	cmd := exec.Command("go", "install", peerModule)
	cmd.Dir, cmd.Env = os.TempDir(), append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go install %s: %w: %s", peerModule, err, out)
	}
	return program, nil
}

// figure is the median of what a command in the guest prints, a number.
func (m *bare) figure(runs int, argv ...string) (float64, error) {
	var all []float64
	for range runs {
		if err := m.run(nothing, argv...); err != nil {
			return 0, err
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(string(m.said)), 64)
		if err != nil {
			return 0, fmt.Errorf("%q printed %q", argv, m.said)
		}
		all = append(all, f)
	}
	return median(all), nil
}
