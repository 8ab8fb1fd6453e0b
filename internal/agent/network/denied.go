package network

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/vishvananda/netlink"

	"banger/internal/channel/netflow"
)

const (
	// deniedFile has what the guest was denied, a line each, for the programs in it.
	deniedFile = "/run/banger/denied"
	maxDenied  = 64 << 10 // bytes; then the older half goes
)

var deniedLock sync.Mutex

// denied tells of a connection that the host has denied: the host, who asked for it, and
// the guest, why.
func (n *Network) denied(ends pair, why string) {
	process := findProcess(ends)
	ctx, cancel := context.WithTimeout(context.Background(), netflow.WhoLimit)
	defer cancel()
	f, err := n.open(ctx, netflow.Request{Kind: netflow.Note, Proto: "tcp", Addr: ends.to, From: ends.from, Process: process})
	if err == nil {
		f.Close()
	}
	if err := addDenied(fmt.Sprintf("%s %s %s %s\n", time.Now().UTC().Format(time.RFC3339), ends.to, process, why)); err != nil {
		n.say("network: %v", err)
	}
}

// addDenied adds a line to deniedFile.
func addDenied(line string) error {
	deniedLock.Lock()
	defer deniedLock.Unlock()
	text, err := os.ReadFile(deniedFile)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	if len(text) > maxDenied {
		text = text[len(text)/2:]
		text = text[bytes.IndexByte(text, '\n')+1:]
	}
	return os.WriteFile(deniedFile, append(text, line...), 0o644)
}

// oneLine replaces what would end a line, or is not to be seen: a process chooses its name.
func oneLine(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, name)
}

// findProcess returns the name and number of the process that has a connection's end, ""
// if it is not found: one in a namespace of its own is not.
func findProcess(ends pair) string {
	s, err := netlink.SocketGet(tcpAddr(ends.from.Addr(), ends.from.Port()), tcpAddr(ends.to.Addr(), ends.to.Port()))
	// The kernel looks at the ports only.
	if err != nil || s.INode == 0 || !s.ID.Source.Equal(ends.from.Addr().AsSlice()) || !s.ID.Destination.Equal(ends.to.Addr().AsSlice()) {
		return ""
	}
	want := fmt.Sprintf("socket:[%d]", s.INode)
	processes, _ := filepath.Glob("/proc/[0-9]*")
	slices.SortFunc(processes, func(a, b string) int { return number(b) - number(a) }) // the newest first
	for _, p := range processes {
		fds, _ := os.ReadDir(p + "/fd")
		if slices.ContainsFunc(fds, func(e fs.DirEntry) bool { to, _ := os.Readlink(p + "/fd/" + e.Name()); return to == want }) {
			name, _ := os.ReadFile(p + "/comm")
			return fmt.Sprintf("%s[%d]", oneLine(strings.TrimSpace(string(name))), number(p))
		}
	}
	return ""
}

func tcpAddr(a interface{ AsSlice() []byte }, port uint16) net.Addr {
	return &net.TCPAddr{IP: a.AsSlice(), Port: int(port)}
}

func number(path string) int {
	n, _ := strconv.Atoi(filepath.Base(path))
	return n
}
