package policy

import (
	"encoding/binary"
	"fmt"
)

const (
	recordAlert     = 21
	recordHandshake = 22
	maxRecord       = 1 << 14 // bytes, of a record in plain text (RFC 8446 §5.1)
	handshakeHello  = 1
	extServerName   = 0
	nameTypeHost    = 0
)

// readTLS reads a ClientHello (RFC 8446 §4.1.2, RFC 6066 §3), reassembled from its
// records. The hello of SSL 2, which old libraries still take, has no name.
func readTLS(b []byte) Said {
	s := Said{Kind: TLS}
	if b[0]&0x80 != 0 {
		return readSSL2(b)
	}
	if len(b) > 1 && b[1] != 3 {
		if tls, known := oddVersion(b); !known {
			return s
		} else if !tls {
			return Said{Kind: Other, Complete: true}
		}
	}
	var hello []byte
	for {
		if len(b) > 0 && b[0] != recordHandshake {
			if len(b) < 5 && len(hello) == 0 {
				return s
			}
			return s.broken("it does not begin with a ClientHello")
		}
		if len(b) < 5 {
			return s
		}
		n := int(binary.BigEndian.Uint16(b[3:]))
		if n == 0 || n > maxRecord {
			return s.broken(fmt.Sprintf("a record has %d bytes", n))
		}
		b = b[5:]
		hello = append(hello, b[:min(n, len(b))]...)
		if len(hello) > 0 && hello[0] != handshakeHello {
			return s.broken("its first message is no ClientHello")
		}
		if len(hello) >= 4 {
			size := int(hello[1])<<16 | int(hello[2])<<8 | int(hello[3])
			if size > MaxFirst {
				return s.broken("it has more than 16 KiB")
			}
			if len(hello) >= 4+size {
				return readHello(s, hello[4:4+size])
			}
		}
		if len(b) < n {
			return s
		}
		b = b[n:]
		if len(b) == 0 {
			return s
		}
	}
}

// oddVersion says whether a record whose version is not 3.x is read as TLS by a server, as
// far as known: servers are to ignore it (RFC 8446 §5.1), and Go's takes all below 16.0.
// Another protocol may begin with the same bytes, so they must look like a ClientHello, or
// like an alert, which servers pass over.
func oddVersion(b []byte) (tls, known bool) {
	switch {
	case b[1] >= 16, b[0] != recordHandshake && b[0] != recordAlert:
		return false, true
	case len(b) < 5:
		return false, false
	}
	n := int(binary.BigEndian.Uint16(b[3:]))
	if b[0] == recordAlert {
		return n == 2, true
	}
	if n == 0 || n > maxRecord {
		return false, true
	}
	if len(b) < 6 || n > 1 && len(b) < 7 {
		return false, false
	}
	return b[5] == handshakeHello && (n == 1 || b[6] == 0), true // no hello has 64 KiB
}

// readSSL2 knows a ClientHello of SSL 2 (RFC 5246 appendix E.2).
func readSSL2(b []byte) Said {
	for i, c := range b[:min(len(b), 4)] {
		if i == 2 && c != handshakeHello || i == 3 && c != 3 && c != 0 {
			return Said{Kind: Other, Complete: true}
		}
	}
	if len(b) < 4 {
		return Said{}
	}
	return Said{Kind: TLS, Complete: true}
}

// field takes n bytes off, or none if there are fewer.
func field(b []byte, n int) (head, rest []byte, ok bool) {
	if n > len(b) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// vector takes bytes off that are led by their length, of size bytes.
func vector(b []byte, size int) (head, rest []byte, ok bool) {
	head, rest, ok = field(b, size)
	if !ok {
		return nil, nil, false
	}
	n := 0
	for _, c := range head {
		n = n<<8 | int(c)
	}
	return field(rest, n)
}

func readHello(s Said, b []byte) Said {
	const cut = "its ClientHello is cut off"
	_, b, ok := field(b, 2+32) // version, random
	if !ok {
		return s.broken(cut)
	}
	for _, size := range []int{1, 2, 1} { // session, cipher suites, compressions
		if _, b, ok = vector(b, size); !ok {
			return s.broken(cut)
		}
	}
	if len(b) == 0 { // before extensions were
		s.Complete = true
		return s
	}
	extensions, rest, ok := vector(b, 2)
	if !ok || len(rest) > 0 {
		return s.broken(cut)
	}
	seen := false
	for len(extensions) > 0 {
		var kind, body []byte
		if kind, extensions, ok = field(extensions, 2); !ok {
			return s.broken(cut)
		}
		if body, extensions, ok = vector(extensions, 2); !ok {
			return s.broken(cut)
		}
		if binary.BigEndian.Uint16(kind) != extServerName {
			continue
		}
		name, ok := serverName(body)
		if !ok || seen {
			return s.broken("its server_name is not one name")
		}
		seen = true
		s.Names = []string{name}
	}
	s.Complete = true
	return s
}

// serverName reads the extension, which holds one name (RFC 6066 §3 forbids two of a type,
// and has one type).
func serverName(b []byte) (string, bool) {
	list, rest, ok := vector(b, 2)
	if !ok || len(rest) > 0 || len(list) == 0 || list[0] != nameTypeHost {
		return "", false
	}
	name, rest, ok := vector(list[1:], 2)
	return string(name), ok && len(rest) == 0 && len(name) > 0
}
