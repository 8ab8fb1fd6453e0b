package agent

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"banger/internal/agent/root"
	"banger/internal/channel/control"
)

// The disks, in the order in which every driver gives them.
const (
	baseDev    = "/dev/vda" // the image, shared and read-only
	diskDev    = "/dev/vdb" // the VM's own
	modulesDev = "/dev/vdc" // the kernel's modules, shared and read-only
)

// diskLimit bounds the wait for a disk's device after its driver was loaded.
const diskLimit = 10 * time.Second

// joinRoot mounts the guest's root at newRoot.
func joinRoot(repair bool) (disk control.DiskState, err error) {
	if err := os.MkdirAll(newRoot, 0o755); err != nil {
		return "", err
	}
	for _, dev := range []string{baseDev, diskDev, modulesDev} {
		if err := awaitDevice(dev); err != nil {
			return "", err
		}
	}
	if disk, err = openRoot(repair); err != nil {
		return "", err
	}
	if err := root.Mount(newRoot); err != nil {
		return "", err
	}
	for _, d := range []string{"dev", "proc", "sys", "run", "tmp", "root"} {
		mode := map[string]os.FileMode{"tmp": 0o777 | os.ModeSticky, "root": 0o700}[d]
		if err := makeDir(filepath.Join(newRoot, d), mode); err != nil {
			return "", err
		}
	}
	return disk, nil
}

// makeDir makes a directory of that mode, 0755 for 0; one that is there stays
// as it is.
func makeDir(path string, mode os.FileMode) error {
	if mode == 0 {
		mode = 0o755
	}
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// awaitDevice waits for a device's node: devtmpfs makes it a moment after the
// driver was loaded, and tells nobody before udev runs.
func awaitDevice(dev string) error {
	for limit := time.Now().Add(diskLimit); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(dev); err == nil {
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("find disk %s: it did not come in %v", dev, diskLimit)
		}
	}
}

// become makes the guest who id says: host name, machine id, entropy, time zone. It
// writes below root.
func become(id control.Identity, root string) error {
	if err := addEntropy(id.Entropy); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(id.Hostname)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	if err := writeIdentity(id, filepath.Join(root, "etc")); err != nil || id.Zone == nil {
		return err
	}
	return setZone(root, *id.Zone)
}

func writeIdentity(id control.Identity, etc string) error {
	if err := os.MkdirAll(etc, 0o755); err != nil {
		return err
	}
	if err := replaceFile(filepath.Join(etc, "hostname"), id.Hostname+"\n"); err != nil {
		return err
	}
	hosts, err := os.ReadFile(filepath.Join(etc, "hosts"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := replaceFile(filepath.Join(etc, "hosts"), addHost(string(hosts), id.Hostname)); err != nil {
		return err
	}
	if id.MachineID == "" {
		return nil
	}
	return replaceFile(filepath.Join(etc, "machine-id"), id.MachineID+"\n")
}

// hostsMark ends the one line of /etc/hosts that is banger's.
const hostsMark = "# banger"

// addHost gives hosts(5) the lines that a machine named name needs, and leaves
// all others.
func addHost(hosts, name string) string {
	var b strings.Builder
	local := false
	for line := range strings.Lines(hosts) {
		if strings.HasSuffix(strings.TrimSpace(line), hostsMark) {
			continue
		}
		if f := strings.Fields(line); len(f) > 1 && f[0] == "127.0.0.1" {
			local = true
		}
		b.WriteString(strings.TrimSuffix(line, "\n") + "\n")
	}
	if !local {
		b.WriteString("127.0.0.1\tlocalhost " + hostsMark + "\n::1\tlocalhost ip6-localhost " + hostsMark + "\n")
	}
	b.WriteString("127.0.1.1\t" + name + " " + hostsMark + "\n")
	return b.String()
}

// replaceFile writes a file where its text is another; a link there is
// replaced, not followed.
func replaceFile(path, text string) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, []byte(text)) {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// addEntropy puts the host's random bytes into the kernel's pool and counts
// them (random(4), RNDADDENTROPY).
func addEntropy(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	f, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	arg := binary.NativeEndian.AppendUint32(nil, uint32(len(p)*8))
	arg = binary.NativeEndian.AppendUint32(arg, uint32(len(p)))
	arg = append(arg, p...)
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&arg[0]))); e != 0 {
		return fmt.Errorf("add entropy: %w", e)
	}
	return nil
}

// keepTemporary keeps systemd-tmpfiles, which runs some seconds into the boot,
// from clearing /tmp under the commands that run by then: the image's order to
// do so (tmpfiles.d(5), D) becomes one to make the directory, by a file of the
// same name in /run. One that an administrator wrote in /etc goes before both.
func keepTemporary(root string) error {
	text, err := os.ReadFile(filepath.Join(root, "usr/lib/tmpfiles.d/tmp.conf"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[0], "D") && f[1] == "/tmp" {
			line = strings.Replace(line, "D", "d", 1)
		}
		b.WriteString(line)
	}
	dir := filepath.Join(root, "run/tmpfiles.d")
	if err := makeDir(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "tmp.conf"), []byte(b.String()), 0o644)
}

// findInit returns the init of the image at root, as a path inside it, or "".
// A link may lead anywhere inside the image; it is followed by the kernel, once
// this process's root is the image's.
func findInit() string {
	for _, p := range []string{"/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd", "/init"} {
		if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return p
		}
	}
	return ""
}
