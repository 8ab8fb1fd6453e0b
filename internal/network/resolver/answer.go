package resolver

import (
	"context"
	"encoding/binary"
	"errors"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	headerSize = 12   // bytes (RFC 1035, 4.1.1)
	plainSize  = 512  // of an answer over UDP without EDNS (RFC 1035, 4.2.1)
	maxUDP     = 4096 // of an answer over UDP with EDNS; the guest's link takes more
	maxExtra   = 16   // records behind the question
)

// codeBadVersion is an extended code: an EDNS version that nobody knows (RFC 6891, 9).
const codeBadVersion dnsmessage.RCode = 16

// query is a guest's message, understood.
type query struct {
	header   dnsmessage.Header
	question dnsmessage.Question
	edns     bool
	version  uint8
	size     int // of an answer over UDP, in bytes
}

// errQuery is a message that is no query in good form.
var errQuery = errors.New("the message is no query")

// readQuery decodes a query with one question. On an error the header is set
// nevertheless, if the message has one.
func readQuery(msg []byte) (query, error) {
	q := query{size: plainSize}
	var p dnsmessage.Parser
	var err error
	if q.header, err = p.Start(msg); err != nil {
		return q, errQuery
	}
	if q.question, err = p.Question(); err != nil {
		return q, errQuery
	}
	if _, err := p.Question(); err != dnsmessage.ErrSectionDone {
		return q, errQuery
	}
	if err := errors.Join(p.SkipAllAnswers(), p.SkipAllAuthorities()); err != nil {
		return q, errQuery
	}
	for n := 0; ; n++ {
		h, err := p.AdditionalHeader()
		if err == dnsmessage.ErrSectionDone {
			return q, nil
		}
		if err != nil || n == maxExtra {
			return q, errQuery
		}
		if h.Type == dnsmessage.TypeOPT {
			if q.edns || h.Name.String() != "." {
				return q, errQuery // RFC 6891, 6.1.1
			}
			q.edns, q.version = true, uint8(h.TTL>>16)
			q.size = min(max(int(h.Class), plainSize), maxUDP)
		}
		if err := p.SkipAdditional(); err != nil {
			return q, errQuery
		}
	}
}

// Answer answers a guest's DNS message, without the length before it that TCP has.
// It returns nil for a message that gets no answer: one without a header, or an
// answer itself. Everything else is answered: a name that may not be looked up
// does not exist, and a fault of the host's is SERVFAIL. It takes 10 seconds at
// most. An answer over UDP is as long as the guest says that it can take, at most
// 4,096 bytes; what is longer is left out and marked as truncated.
func (r *Resolver) Answer(ctx context.Context, msg []byte, tcp bool) []byte {
	if len(msg) < headerSize || len(msg) > maxMessage || msg[2]&0x80 != 0 {
		return nil
	}
	q, err := readQuery(msg)
	if err != nil {
		return headerOnly(msg, dnsmessage.RCodeFormatError)
	}
	f := r.judge(ctx, q)
	out, err := q.pack(f, false)
	switch {
	case err == nil && tcp && len(out) > maxMessage:
		out, err = q.pack(failed, false)
	case err == nil && !tcp && len(out) > q.size:
		out, err = q.pack(found{code: f.code}, true)
	}
	if err != nil {
		return headerOnly(msg, dnsmessage.RCodeServerFailure)
	}
	return out
}

// judge answers what can be told by the message's outside, and finds the rest.
func (r *Resolver) judge(ctx context.Context, q query) found {
	switch {
	case q.header.OpCode != 0:
		return found{code: dnsmessage.RCodeNotImplemented}
	case q.version != 0:
		return found{code: codeBadVersion}
	case q.question.Class != dnsmessage.ClassINET:
		return refused
	}
	ctx, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	return r.find(ctx, q.question)
}

// headerOnly answers a message of which only the header was understood.
func headerOnly(msg []byte, code dnsmessage.RCode) []byte {
	out := make([]byte, headerSize)
	copy(out, msg[:4])
	out[2] = out[2]&0x79 | 0x80 // keep the operation and RD, say that this is an answer
	out[3] = 0x80 | byte(code)
	return out
}

// pack encodes the answer to q. The question is returned byte by byte, in its
// case: some resolvers hide a nonce there.
func (q query) pack(f found, truncated bool) ([]byte, error) {
	b := dnsmessage.NewBuilder(make([]byte, 0, plainSize), dnsmessage.Header{
		ID: q.header.ID, Response: true, OpCode: q.header.OpCode, Truncated: truncated,
		RecursionDesired: q.header.RecursionDesired, RecursionAvailable: true,
		CheckingDisabled: q.header.CheckingDisabled, RCode: f.code & 0xf,
	})
	b.EnableCompression()
	if err := errors.Join(b.StartQuestions(), b.Question(q.question), b.StartAnswers()); err != nil {
		return nil, err
	}
	for _, rec := range f.records {
		if err := addRecord(&b, rec); err != nil {
			return nil, err
		}
	}
	if f.zone {
		// RFC 2308, 3: how long a guest may keep that there is nothing. Rules change.
		root := dnsmessage.MustNewName(".")
		soa := dnsmessage.SOAResource{NS: dnsmessage.MustNewName("banger.internal."), MBox: dnsmessage.MustNewName("nobody.invalid."), Serial: 1}
		h := dnsmessage.ResourceHeader{Name: root, Class: dnsmessage.ClassINET}
		if err := errors.Join(b.StartAuthorities(), b.SOAResource(h, soa)); err != nil {
			return nil, err
		}
	}
	if q.edns {
		var h dnsmessage.ResourceHeader
		if err := errors.Join(h.SetEDNS0(maxUDP, f.code, false), b.StartAdditionals(), b.OPTResource(h, dnsmessage.OPTResource{})); err != nil {
			return nil, err
		}
	}
	return b.Finish()
}

// errRecord is a record of a type that is never answered.
var errRecord = errors.New("a record of this type is not answered")

func addRecord(b *dnsmessage.Builder, rec dnsmessage.Resource) error {
	switch body := rec.Body.(type) {
	case *dnsmessage.AResource:
		return b.AResource(rec.Header, *body)
	case *dnsmessage.AAAAResource:
		return b.AAAAResource(rec.Header, *body)
	case *dnsmessage.CNAMEResource:
		return b.CNAMEResource(rec.Header, *body)
	case *dnsmessage.MXResource:
		return b.MXResource(rec.Header, *body)
	case *dnsmessage.SRVResource:
		return b.SRVResource(rec.Header, *body)
	case *dnsmessage.TXTResource:
		return b.TXTResource(rec.Header, *body)
	case *dnsmessage.PTRResource:
		return b.PTRResource(rec.Header, *body)
	}
	return errRecord
}

// Frame returns msg behind its length, as DNS over TCP has it (RFC 1035, 4.2.2).
// msg is at most 65,535 bytes, as Answer's always are.
func Frame(msg []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
}
