package policy

import "bytes"

// MaxFirst is how many of a connection's first bytes are read, at most: with a
// post-quantum key share a ClientHello has about 2 KiB, and servers take 8 to 16 KiB of
// HTTP header.
const MaxFirst = 16 << 10

// Content is what first bytes are.
type Content string

const (
	NotYet Content = "" // may be any of the others
	TLS    Content = "TLS"
	HTTP   Content = "HTTP"
	HTTP2  Content = "HTTP/2" // without TLS, by prior knowledge (RFC 9113 §3.3)
	Other  Content = "other bytes"
)

// Said is what a connection's first bytes say.
type Said struct {
	Kind Content
	// Names are as they were sent: the ClientHello's server_name; of the first request the
	// Host lines and the host of an absolute target; the :authority of HTTP/2's first request.
	Names []string
	// Asked is the port of a target that is no path, as a proxy is asked for one; else 0.
	Asked uint16
	// Complete: more bytes change nothing.
	Complete bool
	// Broken is why bytes of this kind can't be read, or are read in more than one way.
	Broken string
	// Pass is how many of the bytes may go on though it is not complete: clients of HTTP/2
	// may wait for the server's settings before their first request.
	Pass int
}

// Read reads a connection's first bytes, all that the guest has sent so far; beyond
// MaxFirst bytes it asks for no more. It keeps nothing of first.
func Read(first []byte) Said {
	s := read(first[:min(len(first), MaxFirst)])
	if !s.Complete && len(first) >= MaxFirst {
		s = s.broken("it has more than 16 KiB")
	}
	return s
}

func read(b []byte) Said {
	switch {
	case len(b) == 0:
		return Said{}
	case b[0] >= 20 && b[0] <= 23, b[0]&0x80 != 0:
		return readTLS(b)
	case bytes.HasPrefix(b, []byte(preface)):
		return readHTTP2(b)
	case bytes.HasPrefix([]byte(preface), b):
		return Said{}
	}
	return readHTTP(b)
}

// End is what is said when the guest sends no more before the server does. A beginning
// that could have become TLS or HTTP is broken: passed on, it could still become so.
func (s Said) End() Said {
	if s.Complete {
		return s
	}
	return s.broken("it ends in the middle")
}

// ServerFirst is what is said if the server speaks while the guest has sent nothing:
// neither TLS nor HTTP begin so.
func ServerFirst() Said { return Said{Kind: Other, Complete: true} }

// broken leaves the kind as it is known.
func (s Said) broken(why string) Said { return Said{Kind: s.Kind, Complete: true, Broken: why} }
