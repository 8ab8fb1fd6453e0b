package agent

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"banger/internal/channel/control"
	"banger/internal/network/ports"
)

func TestWatchPorts(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	told := watchPorts(ctx, func() error { return nil })
	// Other programs of this host may change too: what is told next may be theirs.
	await := func(at netip.AddrPort, want bool) {
		t.Helper()
		for {
			select {
			case p := <-told:
				i := slices.IndexFunc(p.Listening, func(l control.Listener) bool { return l.Addr == at })
				if i >= 0 && p.Listening[i].PID != os.Getpid() {
					t.Fatalf("%v is of process %d %q, want this one", at, p.Listening[i].PID, p.Listening[i].Process)
				}
				if (i >= 0) == want {
					return
				}
			case <-ctx.Done():
				t.Fatalf("it was never told that %v listens: %v", at, want)
			}
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	await(at, true)
	l.Close()
	await(at, false)
}

// A socket whose process has ended is another's that has it too: servers fork, and their first
// process ends.
func TestWatchPortsOfFork(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	holders := map[int]*exec.Cmd{}
	for range 2 {
		cmd := exec.Command("sleep", "1000")
		cmd.ExtraFiles = []*os.File{f}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Wait()
		defer cmd.Process.Kill()
		holders[cmd.Process.Pid] = cmd
	}
	f.Close()
	l.Close()
	told := watchPorts(ctx, func() error { return nil })
	for len(holders) > 0 {
		select {
		case p := <-told:
			i := slices.IndexFunc(p.Listening, func(l control.Listener) bool { return l.Addr == at })
			if i < 0 {
				t.Fatalf("%v does not listen any more: %+v", at, p)
			}
			if cmd := holders[p.Listening[i].PID]; cmd != nil {
				cmd.Process.Kill()
				cmd.Wait()
				delete(holders, p.Listening[i].PID)
			}
		case <-ctx.Done():
			t.Fatalf("it was not told that another process has %v", at)
		}
	}
}

func TestPortsOf(t *testing.T) {
	var sockets []ports.Socket
	of := map[uint32]ports.Process{}
	for i := range control.MaxListeners + 5 {
		at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(1000+i))
		sockets = append(sockets, ports.Socket{Addr: at, Inode: uint32(i + 1)})
		of[uint32(i+1)] = ports.Process{PID: i + 1, Name: fmt.Sprint("p", i)}
	}
	p := portsOf(sockets, of)
	if len(p.Listening) != control.MaxListeners || p.More != 5 || p.Listening[7] != (control.Listener{Addr: sockets[7].Addr, Process: "p7", PID: 8}) {
		t.Errorf("portsOf gave %d and %d more, the eighth %+v", len(p.Listening), p.More, p.Listening[7])
	}
}
