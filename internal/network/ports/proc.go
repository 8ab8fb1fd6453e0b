package ports

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Process has a socket.
type Process struct {
	PID  int
	Name string // as the kernel has it: 15 bytes that the process chooses
}

// Processes finds the processes that have the sockets with these inodes, the one with the
// lowest number of each. It reads the descriptors of every process that it may look at.
func Processes(inodes []uint32) map[uint32]Process { return processesOf("/proc", inodes) }

func processesOf(proc string, inodes []uint32) map[uint32]Process {
	wanted := setOf(inodes)
	out := make(map[uint32]Process, len(wanted))
	if len(wanted) == 0 {
		return out
	}
	for _, pid := range pids(proc) {
		for _, inode := range socketsOf(proc, pid, wanted) {
			if _, known := out[inode]; !known {
				out[inode] = Process{pid, nameOf(proc, pid)}
			}
		}
	}
	return out
}

// Latest finds the processes that have the sockets with these inodes: the process with the
// number first if it is one (0 is none), else the one with the highest. It looks no further than
// it must.
func Latest(inodes []uint32, first int) map[uint32]Process { return latestOf("/proc", inodes, first) }

func latestOf(proc string, inodes []uint32, first int) map[uint32]Process {
	wanted := setOf(inodes)
	out := make(map[uint32]Process, len(wanted))
	look := func(pid int) (more bool) {
		for _, inode := range socketsOf(proc, pid, wanted) {
			out[inode] = Process{pid, nameOf(proc, pid)}
			delete(wanted, inode)
		}
		return len(wanted) > 0
	}
	if len(wanted) == 0 || first != 0 && !look(first) {
		return out
	}
	for _, pid := range slices.Backward(pids(proc)) {
		if !look(pid) {
			break
		}
	}
	return out
}

func setOf(inodes []uint32) map[uint32]bool {
	set := make(map[uint32]bool, len(inodes))
	for _, i := range inodes {
		if i != 0 {
			set[i] = true
		}
	}
	return set
}

// pids are the processes' numbers, the lowest first.
func pids(proc string) (out []int) {
	dir, err := os.Open(proc)
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			out = append(out, pid)
		}
	}
	slices.Sort(out)
	return out
}

// socketsOf are those of wanted that a process has, as far as it may be looked at. It begins with
// the highest descriptor, and ends with the last of wanted.
func socketsOf(proc string, pid int, wanted map[uint32]bool) (out []uint32) {
	path := filepath.Join(proc, strconv.Itoa(pid), "fd")
	dir, err := os.Open(path)
	if err != nil {
		return nil // another user's, or gone
	}
	defer dir.Close()
	fds, _ := dir.Readdirnames(-1) // the kernel lists them in order
	for _, fd := range slices.Backward(fds) {
		to, err := os.Readlink(path + "/" + fd)
		text, is := strings.CutPrefix(to, "socket:[")
		if err != nil || !is {
			continue
		}
		inode, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 32)
		if err != nil || !wanted[uint32(inode)] || slices.Contains(out, uint32(inode)) {
			continue
		}
		if out = append(out, uint32(inode)); len(out) == len(wanted) {
			break
		}
	}
	return out
}

func nameOf(proc string, pid int) string {
	name, _ := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "comm"))
	return strings.TrimSuffix(string(name), "\n")
}

// Datagram finds the socket of "udp", or of "icmp" (whose port is the echo's identifier), that
// has the end local: one that is connected to remote before others. ErrNoSocket says that there
// is none.
func Datagram(protocol string, local, remote netip.AddrPort) (found Socket, err error) {
	local, remote = unmap(local), unmap(remote)
	if protocol != "udp" && protocol != "icmp" {
		return Socket{}, fmt.Errorf("find a socket of %q: only udp and icmp are looked at", protocol)
	}
	all, err := socketsOfProc("/proc", protocol, func(s Socket) bool {
		return s.Inode != 0 && s.Addr.Port() == local.Port() && (s.Addr.Addr() == local.Addr() || s.Addr.Addr().IsUnspecified())
	})
	if err != nil {
		return Socket{}, err
	}
	err = ErrNoSocket
	for _, s := range all {
		if err != nil || s.Remote.Addr() == remote.Addr() {
			found, err = s, nil
		}
	}
	return found, err
}

func listeningOfProc(proc string) ([]Socket, error) {
	return socketsOfProc(proc, "tcp", func(s Socket) bool { return s.listen })
}

func connectionsOfProc(proc string) ([]Socket, error) {
	return socketsOfProc(proc, "tcp", func(s Socket) bool { return !s.listen })
}

// socketsOfProc reads the tables of proc(5), which any kernel with the protocol has.
func socketsOfProc(proc, protocol string, keep func(Socket) bool) (out []Socket, err error) {
	for _, name := range []string{protocol, protocol + "6"} {
		f, err := os.Open(filepath.Join(proc, "thread-self/net", name))
		if errors.Is(err, fs.ErrNotExist) && name != protocol {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list sockets: %w", err)
		}
		all, err := readTable(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("list sockets: %w", err)
		}
		for _, s := range all {
			if keep(s) {
				out = append(out, s)
			}
		}
	}
	return out, nil
}

// readTable reads /proc/net/tcp or tcp6: a line of titles, then one for each socket.
func readTable(r io.Reader) (out []Socket, err error) {
	lines := bufio.NewScanner(r)
	lines.Scan()
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 {
			continue
		}
		var s Socket
		local, lerr := tableAddr(f[1])
		remote, rerr := tableAddr(f[2])
		state, serr := strconv.ParseUint(f[3], 16, 8)
		uid, uerr := strconv.ParseUint(f[7], 10, 32)
		inode, ierr := strconv.ParseUint(f[9], 10, 32)
		if err := errors.Join(lerr, rerr, serr, uerr, ierr); err != nil {
			return nil, err
		}
		s.Addr, s.UID, s.Inode, s.listen = local, uint32(uid), uint32(inode), state == stateListen
		if !s.listen {
			s.Remote = remote
		}
		out = append(out, s)
	}
	return out, lines.Err()
}

// tableAddr reads 0100007F:1F90: the address's words as the host has them, the port as the
// network does.
func tableAddr(text string) (netip.AddrPort, error) {
	addr, port, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(addr)
	if err != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, fmt.Errorf("read the address %.80q", text)
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	a, _ := netip.AddrFromSlice(b)
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("read the address %.80q", text)
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), nil
}
