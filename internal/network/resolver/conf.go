package resolver

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// maxFile bounds a configuration file, in bytes. Lists of names to block, which
// some people keep in /etc/hosts, have a few MiB.
const maxFile = 16 << 20

// conf is what resolv.conf(5) says. Its search list and ndots are left out: the
// guest has a list of its own, and what it asks here is a whole name.
type conf struct {
	servers  []netip.Addr // 1 to 3
	timeout  time.Duration
	attempts int
	rotate   bool
	edns0    bool
	useTCP   bool
}

// parseConf reads a resolv.conf. As in glibc, a line that can't be understood
// counts for nothing, and without a server the host's own is asked.
func parseConf(text string) conf {
	c := conf{timeout: 5 * time.Second, attempts: 2}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			a, err := netip.ParseAddr(fields[1])
			if err == nil && len(c.servers) < 3 { // MAXNS in resolv.h
				c.servers = append(c.servers, a)
			}
		case "options":
			for _, o := range fields[1:] {
				c.option(o)
			}
		}
	}
	if len(c.servers) == 0 {
		c.servers = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	return c
}

// option takes one word of an options line; the limits are resolv.conf(5)'s.
func (c *conf) option(o string) {
	name, value, _ := strings.Cut(o, ":")
	n, err := strconv.Atoi(value)
	number := err == nil && n >= 1
	switch {
	case name == "timeout" && number:
		c.timeout = time.Duration(min(n, 30)) * time.Second
	case name == "attempts" && number:
		c.attempts = min(n, 5)
	case name == "rotate":
		c.rotate = true
	case name == "edns0":
		c.edns0 = true
	case name == "use-vc", name == "usevc", name == "tcp":
		c.useTCP = true
	}
}

// hosts is what hosts(5) says: addresses by clean name.
type hosts map[string][]netip.Addr

func parseHosts(text string) hosts {
	h := hosts{}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		a, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		a = a.Unmap().WithZone("")
		for _, name := range fields[1:] {
			if name = Clean(name); len(h[name]) < maxRecords && !slices.Contains(h[name], a) {
				h[name] = append(h[name], a)
			}
		}
	}
	return h
}

// file is a configuration file that is read again when it has changed. Its
// methods may be called at once. The zero value has read nothing yet.
type file[T any] struct {
	mu    sync.Mutex
	value T
	path  string
	stamp stamp
}

// stamp tells one content of a file from the next. The zero value is of no content.
type stamp struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
}

// get returns what parse makes of the file at path; of nothing, if the file does
// not exist.
func (f *file[T]) get(path string, parse func(string) T) (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var none T
	fi, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		f.stamp = stamp{}
		return parse(""), nil
	}
	if err != nil {
		return none, err
	}
	if !fi.Mode().IsRegular() {
		return none, fmt.Errorf("%q is not a regular file", path)
	}
	st := fi.Sys().(*syscall.Stat_t)
	now := stamp{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim}
	if f.path == path && f.stamp == now {
		return f.value, nil
	}
	if st.Size > maxFile {
		return none, fmt.Errorf("%q has more than %d MiB", path, maxFile>>20)
	}
	text, err := readAll(path)
	if err != nil {
		return none, err
	}
	f.value, f.path, f.stamp = parse(text), path, now
	// A file system's clock may stand still for some milliseconds: a change in the
	// same tick would leave the same stamp.
	if time.Since(time.Unix(st.Ctim.Unix())) < 2*time.Second {
		f.stamp = stamp{}
	}
	return f.value, nil
}

func readAll(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	return string(text), err
}
