package policy

import (
	"bytes"

	"golang.org/x/net/http2/hpack"
)

// preface begins each connection of HTTP/2 (RFC 9113 §3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Types and flags of frames (RFC 9113 §6).
const (
	frameHeaders      = 1
	framePriority     = 2
	frameSettings     = 4
	framePing         = 6
	frameWindow       = 8
	frameContinuation = 9
	flagEndHeaders    = 0x4
	flagPadded        = 0x8
	flagPriority      = 0x20
	frameHeader       = 9 // bytes
)

// SettingsLen is how many bytes Settings needs.
const SettingsLen = frameHeader

// Settings says whether a server's first bytes begin the frame SETTINGS of HTTP/2, which a
// server may send before the guest has sent anything (RFC 9113 §3.4).
func Settings(b []byte) bool {
	return len(b) >= frameHeader && b[3] == frameSettings && bytes.Equal(b[4:frameHeader], make([]byte, 5))
}

// readHTTP2 reads up to the first request's header. Requests after it are not judged:
// HTTP/2 sends those of several hosts on one connection.
func readHTTP2(b []byte) Said {
	s := Said{Kind: HTTP2, Pass: len(preface)}
	b = b[len(preface):]
	var block []byte
	stream := -1 // of the header that was begun
	for len(b) >= frameHeader {
		size := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		kind, flags := b[3], b[4]
		id := int(b[5]&0x7f)<<24 | int(b[6])<<16 | int(b[7])<<8 | int(b[8])
		if size > MaxFirst {
			return s.broken("a frame has more than 16 KiB")
		}
		body, rest, whole := field(b[frameHeader:], size)
		if !whole {
			return s
		}
		b = rest
		switch {
		case stream < 0 && kind == frameHeaders:
			ok := false
			if block, ok = fragment(body, flags); !ok {
				return s.broken("its HEADERS are cut off")
			}
			stream = id
		case stream >= 0 && kind == frameContinuation && id == stream:
			block = append(block[:len(block):len(block)], body...)
		case stream < 0 && (kind == framePriority || kind == frameSettings || kind == framePing || kind == frameWindow || kind > frameContinuation):
			s.Pass += frameHeader + size
			continue
		default:
			return s.broken("its first frames are not settings and a request")
		}
		if flags&flagEndHeaders != 0 {
			return readHeaders(s, block)
		}
	}
	return s
}

// fragment is the header block in a HEADERS frame (RFC 9113 §6.2).
func fragment(body []byte, flags byte) ([]byte, bool) {
	padding := 0
	if flags&flagPadded != 0 {
		if len(body) == 0 {
			return nil, false
		}
		padding, body = int(body[0]), body[1:]
	}
	if flags&flagPriority != 0 {
		_, rest, ok := field(body, 5)
		if !ok {
			return nil, false
		}
		body = rest
	}
	if padding > len(body) {
		return nil, false
	}
	return body[:len(body)-padding], true
}

func readHeaders(s Said, block []byte) Said {
	d := hpack.NewDecoder(4096, func(f hpack.HeaderField) { // the table's size before any setting
		if (f.Name == ":authority" || f.Name == "host") && f.Value != "" {
			s.Names = append(s.Names, withoutPort(f.Value))
		}
	})
	d.SetMaxStringLength(MaxFirst)
	_, err := d.Write(block)
	if err == nil {
		err = d.Close()
	}
	if err != nil {
		return s.broken("its HEADERS can't be decoded")
	}
	s.Complete = true
	return s
}
