package agent

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/channel/control"
	"banger/internal/network/ports"
)

// portsPause is between two looks at what listens: a change is told within a second.
const portsPause = 750 * time.Millisecond

// watchPorts gives what listens in the guest, soon and after each change, until ctx ends. A
// look asks the kernel for the sockets that listen; only new ones make it look for their processes. prepare
// is called before the first look, which comes after a pause: it is not to go before the first command.
func watchPorts(ctx context.Context, prepare func() error) <-chan *control.Ports {
	told := make(chan *control.Ports)
	go func() { // ends with ctx
		tick := time.NewTicker(portsPause)
		defer tick.Stop()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := prepare(); err != nil {
			say("prepare to look which ports listen: %v", err)
		}
		var w ports.Watcher
		defer w.Close()
		var last []ports.Socket
		known := map[uint32]ports.Process{}
		for first, silent := true, false; ; first = false {
			now, changed, err := w.Look()
			if err != nil && !silent {
				say("look which ports listen: %v", err)
			}
			silent = err != nil
			slices.SortFunc(now, compareSockets)
			others := changed && (first || !slices.Equal(now, last))
			if !changed {
				now = last
			}
			if forgetEnded(known) || others {
				last = now
				known = processesOf(now, known)
				select {
				case told <- portsOf(now, known):
				case <-ctx.Done():
					return
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return told
}

// forgetEnded takes processes that have ended out of known, and reports whether there were any:
// another may have the socket of one that has forked.
func forgetEnded(known map[uint32]ports.Process) (ended bool) {
	for inode, p := range known {
		if errors.Is(unix.Kill(p.PID, 0), unix.ESRCH) {
			delete(known, inode)
			ended = true
		}
	}
	return ended
}

func compareSockets(a, b ports.Socket) int {
	return cmp.Or(cmp.Compare(a.Addr.Port(), b.Addr.Port()), a.Addr.Compare(b.Addr), cmp.Compare(a.Inode, b.Inode))
}

// processesOf finds the processes of sockets, those that are in known without a look. A
// socket whose process was not found is looked for again.
func processesOf(sockets []ports.Socket, known map[uint32]ports.Process) map[uint32]ports.Process {
	var missing []uint32
	out := make(map[uint32]ports.Process, len(sockets))
	for _, s := range sockets {
		if p, ok := known[s.Inode]; ok {
			out[s.Inode] = p
		} else {
			missing = append(missing, s.Inode)
		}
	}
	for inode, p := range ports.Processes(missing) {
		out[inode] = p
	}
	return out
}

func portsOf(sockets []ports.Socket, of map[uint32]ports.Process) *control.Ports {
	out := &control.Ports{Listening: []control.Listener{}}
	for _, s := range sockets {
		if len(out.Listening) == control.MaxListeners {
			out.More++
			continue
		}
		p := of[s.Inode]
		out.Listening = append(out.Listening, control.Listener{Addr: s.Addr, Process: p.Name, PID: p.PID})
	}
	return out
}
