package ports

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Watcher looks again and again which sockets listen, for less than Listening takes: a
// look that finds what the one before has found makes no list, and allocates nothing. One
// goroutine uses it. The zero value is ready for use.
type Watcher struct {
	fd   int // 0 is none
	buf  []byte
	sum  uint64
	seed maphash.Seed
	told bool
}

// Look lists the sockets that listen if they are others than at the last look, or if it is
// the first; else changed is false.
func (w *Watcher) Look() (now []Socket, changed bool, _ error) {
	sum, err := w.look()
	if err == nil && w.told && sum == w.sum {
		return nil, false, nil
	}
	now, listErr := Listening()
	if listErr != nil {
		return nil, false, listErr
	}
	// A list that another change came before is no list of sum: the next look makes one again.
	after, lerr := w.look()
	w.sum, w.told = sum, err == nil && lerr == nil && after == sum
	return now, true, nil
}

// Close gives back what Look has kept.
func (w *Watcher) Close() {
	if w.fd != 0 {
		unix.Close(w.fd)
	}
	*w = Watcher{}
}

// dumpBuf is more than the kernel gives at once (32 KiB), in bytes.
const dumpBuf = 64 << 10

// look is a sum of all that the kernel says of the sockets, but for what changes with time.
func (w *Watcher) look() (uint64, error) {
	if w.fd == 0 {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
		if err != nil {
			return 0, fmt.Errorf("ask the kernel: %w", err)
		}
		w.fd, w.buf, w.seed = fd, make([]byte, dumpBuf), maphash.MakeSeed()
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5})
	}
	var h maphash.Hash
	h.SetSeed(w.seed)
	for _, family := range families {
		if err := w.dump(family, &h); err != nil {
			w.Close() // what else comes there is no answer to the next look
			return 0, err
		}
	}
	return h.Sum64(), nil
}

func (w *Watcher) dump(family uint8, h *maphash.Hash) error {
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	req.AddData(request{family: family, states: 1 << stateListen})
	if err := unix.Sendto(w.fd, req.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("ask the kernel: %w", err)
	}
	for {
		n, err := unix.Read(w.fd, w.buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the kernel's answer: %w", err)
		}
		if done, err := sumMessages(w.buf[:n], h); done || err != nil {
			return err
		}
	}
}

// sumMessages adds the messages in b, and reports whether the last one was among them.
func sumMessages(b []byte, h *maphash.Hash) (done bool, err error) {
	for len(b) >= unix.SizeofNlMsghdr {
		n := int(binary.NativeEndian.Uint32(b))
		if n < unix.SizeofNlMsghdr || n > len(b) {
			return false, fmt.Errorf("read the kernel's answer: a message of %d bytes in %d", n, len(b))
		}
		m := b[unix.SizeofNlMsghdr:n]
		switch typ := binary.NativeEndian.Uint16(b[4:]); {
		case typ == unix.NLMSG_DONE:
			return true, nil
		case typ == unix.NLMSG_ERROR:
			return true, errors.New("the kernel does not list sockets")
		case len(m) >= messageLen:
			h.Write(m[:2])
			h.Write(m[4:52])
			h.Write(m[64:72])
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return false, nil
}
