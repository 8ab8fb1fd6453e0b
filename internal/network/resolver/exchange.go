package resolver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// ednsSize is the size of an answer over UDP, in bytes, that the option edns0 asks
// for: it passes every link unfragmented (DNS flag day 2020).
const ednsSize = 1232

// noAnswerError is the end of a context, by a server that is silent meanwhile.
type noAnswerError struct{ error }

func (noAnswerError) Error() string   { return "no answer in time" }
func (e noAnswerError) Unwrap() error { return e.error }

// try asks one server once, within limit, over UDP and, where the answer was
// truncated, again over TCP.
func (c conf) try(ctx context.Context, server netip.AddrPort, q dnsmessage.Question) (reply, error) {
	edns := c.edns0
	for {
		r, err := c.send(ctx, server, q, edns)
		if err == nil && r.code == dnsmessage.RCodeFormatError && edns {
			edns = false // a server from before RFC 6891
			continue
		}
		return r, err
	}
}

func (c conf) send(ctx context.Context, server netip.AddrPort, q dnsmessage.Question, edns bool) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	query, id, err := newQuery(q, edns)
	if err != nil {
		return reply{}, err
	}
	if !c.useTCP {
		r, err := exchange(ctx, "udp", server, query, id, q)
		if err != nil || !r.truncated {
			return r, err
		}
	}
	r, err := exchange(ctx, "tcp", server, query, id, q)
	if err == nil && r.truncated {
		err = errors.New("the answer over TCP is truncated")
	}
	return r, err
}

// newQuery encodes q behind two bytes for its length, which TCP wants.
func newQuery(q dnsmessage.Question, edns bool) (query []byte, id uint16, err error) {
	id = uint16(rand.Uint32())
	b := dnsmessage.NewBuilder(make([]byte, 2, 2+512), dnsmessage.Header{ID: id, RecursionDesired: true})
	b.EnableCompression()
	err = errors.Join(b.StartQuestions(), b.Question(q))
	if edns {
		var h dnsmessage.ResourceHeader
		err = errors.Join(err, h.SetEDNS0(ednsSize, dnsmessage.RCodeSuccess, false), b.StartAdditionals(), b.OPTResource(h, dnsmessage.OPTResource{}))
	}
	if err != nil {
		return nil, 0, fmt.Errorf("write a query: %w", err)
	}
	query, err = b.Finish()
	if err != nil {
		return nil, 0, fmt.Errorf("write a query: %w", err)
	}
	binary.BigEndian.PutUint16(query, uint16(len(query)-2))
	return query, id, nil
}

// exchange sends one query and waits for its answer until ctx ends. Messages
// that answer something else are passed over: anybody can send them.
func exchange(ctx context.Context, network string, server netip.AddrPort, query []byte, id uint16, q dnsmessage.Question) (reply, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, server.String())
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	read := readStream
	if network == "udp" {
		query, read = query[2:], readPacket
	}
	if _, err := conn.Write(query); err != nil {
		return reply{}, err
	}
	buf := make([]byte, maxMessage)
	for {
		msg, err := read(conn, buf)
		if err != nil {
			if ctx.Err() != nil {
				err = noAnswerError{ctx.Err()}
			}
			// The same failure has the same text: without the port that was sent from.
			if op := (*net.OpError)(nil); errors.As(err, &op) {
				err = op.Err
			}
			return reply{}, fmt.Errorf("ask the server %s over %s: %w", server, network, err)
		}
		r, err := readReply(msg, id, q)
		if !errors.Is(err, errMismatch) {
			return r, err
		}
	}
}

func readPacket(conn net.Conn, buf []byte) ([]byte, error) {
	n, err := conn.Read(buf)
	return buf[:n], err
}

func readStream(conn net.Conn, buf []byte) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	msg := buf[:binary.BigEndian.Uint16(size[:])]
	_, err := io.ReadFull(conn, msg)
	return msg, err
}
