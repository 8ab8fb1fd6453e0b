package agent

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// node is a device's file, whose module the kernel loads when it is opened.
type node struct {
	name  string // below /dev
	kind  uint32 // S_IFCHR or S_IFBLK
	dev   uint64
	mode  uint32
	group string
}

// nodeRights are the modes and groups that Debian's udev gives such nodes; others
// are root's alone (50-udev-default.rules).
var nodeRights = map[string]struct {
	mode  uint32
	group string
}{
	"fuse":          {0o666, "root"},
	"net/tun":       {0o666, "root"},
	"vfio/vfio":     {0o666, "root"},
	"loop-control":  {0o660, "disk"},
	"btrfs-control": {0o660, "disk"},
	"vhost-net":     {0o660, "kvm"},
	"vhost-vsock":   {0o660, "kvm"},
}

// readNodes reads kmod's list of the nodes that modules bring (modules.devname): a
// line each of module, name, and kind with numbers, as "tun net/tun c10:200".
func readNodes(r io.Reader) (list []node, err error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 3 || strings.HasPrefix(f[0], "#") {
			continue
		}
		n := node{name: f[1], kind: map[byte]uint32{'c': unix.S_IFCHR, 'b': unix.S_IFBLK}[f[2][0]], mode: 0o600, group: "root"}
		major, minor, ok := strings.Cut(f[2][1:], ":")
		ma, err1 := strconv.ParseUint(major, 10, 12)
		mi, err2 := strconv.ParseUint(minor, 10, 20)
		if !ok || errors.Join(err1, err2) != nil || n.kind == 0 || !fs.ValidPath(n.name) || n.name == "." {
			return nil, fmt.Errorf("read modules.devname: %q is no device", lines.Text())
		}
		n.dev = unix.Mkdev(uint32(ma), uint32(mi))
		if r, ok := nodeRights[n.name]; ok {
			n.mode, n.group = r.mode, r.group
		}
		list = append(list, n)
	}
	return list, lines.Err()
}

// makeNodes makes the nodes that release's modules bring, below root's /dev. It also
// writes them for systemd-tmpfiles, which would give them the modes of kmod's own
// list some seconds into the boot.
func makeNodes(root, release string) error {
	f, err := os.Open(filepath.Join(root, modulesParent(root), release, "modules.devname"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	list, err := readNodes(f)
	if err != nil {
		return err
	}
	groups, _ := os.ReadFile(filepath.Join(root, "etc/group"))
	var rules strings.Builder
	for _, n := range list {
		gid := groupID(string(groups), n.group)
		name := filepath.Join(root, "dev", n.name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), n.make(name, gid)); err != nil {
			return err
		}
		letter := map[uint32]string{unix.S_IFCHR: "c", unix.S_IFBLK: "b"}[n.kind]
		fmt.Fprintf(&rules, "%s! %s %04o 0 %d - %d:%d\n", letter, path.Join("/dev", n.name), n.mode, gid, unix.Major(n.dev), unix.Minor(n.dev))
	}
	dir := filepath.Join(root, "run/tmpfiles.d")
	if err := makeDir(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "banger-nodes.conf"), []byte(rules.String()), 0o644)
}

// make makes the node, or gives the one that the kernel has made its rights.
func (n node) make(name string, gid int) error {
	if err := unix.Mknod(name, n.kind|n.mode, int(n.dev)); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make %s: %w", name, err)
	}
	return errors.Join(os.Lchown(name, 0, gid), os.Chmod(name, os.FileMode(n.mode)))
}

// groupID is the number of a group in text, which is group(5); root's if it is not
// there.
func groupID(text, name string) int {
	for line := range strings.Lines(text) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) > 2 && f[0] == name {
			id, _ := strconv.ParseUint(f[2], 10, 31)
			return int(id)
		}
	}
	return 0
}
