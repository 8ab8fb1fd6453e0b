package network

import (
	"bytes"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// resolvConf is the guest's resolv.conf(5) where it has none that works. Any nameserver
// that is reached by eth0 does: all questions come to the host.
const resolvConf = "# Any nameserver reached by eth0 answers as the host does.\nnameserver 10.0.2.3\n"

// told are files that let the image's own managers of networks leave eth0 as it is, and
// tell its resolver of a nameserver. All are in /run: a boot without a network has none of them.
var told = map[string]string{
	// systemd.network(5), resolved.conf(5), NetworkManager.conf(5)
	"run/systemd/network/00-banger.network":    "[Match]\nName=eth0\n[Link]\nUnmanaged=yes\nRequiredForOnline=no\n",
	"run/systemd/network/00-banger.link":       "[Match]\nOriginalName=eth0\nDriver=veth\n[Link]\nNamePolicy=\nName=eth0\n",
	"run/systemd/resolved.conf.d/banger.conf":  "[Resolve]\nDNS=10.0.2.3\nDomains=~.\n",
	"run/NetworkManager/conf.d/00-banger.conf": "[keyfile]\nunmanaged-devices=interface-name:eth0\n",
	"run/systemd/resolve/stub-resolv.conf":     resolvConf, // until resolved writes its own
	"run/systemd/resolve/resolv.conf":          resolvConf,
}

// tellGuest lets the programs of the guest at root know of the network.
func tellGuest(root string) error {
	var errs []error
	for path, text := range told {
		path = filepath.Join(root, path)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, setResolver(root))...)
}

// setResolver writes resolv.conf if what is there names no nameserver that can be
// reached: it is missing, empty, or a link to nothing. One that names any other is the image's, or
// the user's own.
func setResolver(root string) error {
	path := filepath.Join(root, "etc/resolv.conf")
	if text, err := readBelow(root, "etc/resolv.conf"); err == nil && namesResolver(text) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte(resolvConf), 0o644)
}

// readBelow reads a file that a link within root may lead to.
func readBelow(root, name string) ([]byte, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if to, err := r.Readlink(name); err == nil && filepath.IsAbs(to) {
		name = strings.TrimPrefix(to, "/")
	}
	return r.ReadFile(name)
}

// namesResolver reports whether a resolv.conf names a nameserver that is not the
// guest itself. One at 127.0.0.53 is systemd-resolved's, which knows the way.
func namesResolver(text []byte) bool {
	for line := range bytes.Lines(text) {
		f := strings.Fields(string(line))
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		a, err := netip.ParseAddr(f[1])
		if err == nil && (!a.IsLoopback() || f[1] == "127.0.0.53") {
			return true
		}
	}
	return false
}
