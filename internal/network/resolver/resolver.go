package resolver

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Decision is what a policy says of a name.
type Decision struct {
	Allow bool
	// BelowAllowed says, of a name that is denied, that an allowed name lies below
	// it: it must not be answered as if nothing did (RFC 8020).
	BelowAllowed bool
	Reason       string // for people; of a denial
}

// Policy judges names before anybody is asked for them. Names are clean. Its
// methods may be called at once.
type Policy interface {
	Judge(name string, t Type) Decision
}

// Proxy says which names an upstream proxy of the host may resolve: those that a
// rule allows by name. Names are clean, and not OnlyHost. Its methods may be
// called at once.
type Proxy interface {
	Resolves(name string) Decision
}

// Upstream finds records; Host does it as the host does. It bounds how many it looks up at once.
type Upstream interface {
	Lookup(ctx context.Context, name string, t Type) (Result, error)
}

// Refusal is a query that was not answered, and why.
type Refusal struct {
	Name   string // clean; quoted (strconv.Quote) if it can't be a host's: it may have any bytes
	Type   Type
	Denied bool // by the policy, not by a limit or a fault
	Reason string
}

// Resolver answers the queries of one VM. Its fields are set before its first use
// and not changed. Its methods may be called at once.
type Resolver struct {
	Upstream  Upstream
	Policy    Policy
	Pins      *Pins
	Proxy     Proxy // nil if there is no upstream proxy
	Synthetic *Synthetic
	// Local returns the addresses of a name that banger itself answers for
	// (host.banger.internal, host.docker.internal, other VMs), as far as this VM may
	// have them. They are not judged again. Nil has no such names.
	Local func(ctx context.Context, name string) ([]netip.Addr, bool)
	// Report is told of each query that was refused, before its answer is given. It may be nil.
	// ctx is Answer's, as Local's is.
	Report func(ctx context.Context, r Refusal)

	text budget
}

const (
	// proxyLimit bounds the host's look-up of a name that an upstream proxy can
	// resolve too: the guest asks anew after 5 seconds (RES_TIMEOUT in resolv.h).
	proxyLimit = 3 * time.Second
	// maxTTL is how long the guest may keep an answer: it must not outlive the
	// host's network by more than that.
	maxTTL = 5 * time.Second
	// maxReverse bounds the names that are answered of one address: those pinned last.
	maxReverse = 16
	// localTTL is for names whose answer is banger's own.
	localTTL = 5 * time.Second
)

// found is what is answered to a question that was understood.
type found struct {
	code    dnsmessage.RCode
	records []dnsmessage.Resource
	zone    bool // with a SOA record of minimum 0: nobody may keep it
}

var (
	nothing    = found{zone: true}
	noSuchName = found{code: dnsmessage.RCodeNameError, zone: true}
	refused    = found{code: dnsmessage.RCodeRefused}
	failed     = found{code: dnsmessage.RCodeServerFailure}
)

// find answers one question of class IN.
func (r *Resolver) find(ctx context.Context, q dnsmessage.Question) found {
	name := Clean(q.Name.String())
	if q.Type == dnsmessage.TypeALL || q.Type == typeAXFR || q.Type == typeIXFR {
		return refused // RFC 8482, 4; and there is no zone to transfer
	}
	if below(name, "in-addr.arpa") || below(name, "ip6.arpa") {
		return r.reverse(q, name)
	}
	if below(name, "localhost") { // RFC 6761, 6.3
		loopback := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
		return own(q, loopback)
	}
	if r.Local != nil {
		if addrs, ok := r.Local(ctx, name); ok {
			f := own(q, addrs)
			r.pinOwn(name, f)
			return f
		}
	}
	if !valid(name) {
		r.report(ctx, q, true, "this is not the name of a host")
		return noSuchName
	}
	if d := r.Policy.Judge(name, q.Type); !d.Allow {
		r.report(ctx, q, true, d.Reason)
		if d.BelowAllowed {
			return nothing
		}
		return noSuchName
	}
	switch q.Type {
	case dnsmessage.TypeA, dnsmessage.TypeAAAA:
		return r.address(ctx, q, name)
	case dnsmessage.TypeCNAME, dnsmessage.TypeMX, dnsmessage.TypeSRV:
		return r.ask(ctx, q, name)
	case dnsmessage.TypeTXT:
		return r.txt(ctx, q, name)
	}
	// HTTPS and SVCB (65 and 64) would lead to QUIC, which does not pass, and to
	// keys for an encrypted ClientHello, which hides the name that is judged. Of
	// others nobody that connects has a need, and a tunnel has.
	return nothing
}

// own is the answer of addresses that are banger's own.
func own(q dnsmessage.Question, addrs []netip.Addr) found {
	records := addressRecords(q.Name, q.Type, addrs, uint32(localTTL/time.Second))
	return found{records: records[:min(len(records), maxRecords)], zone: len(records) == 0}
}

// address answers a question for addresses, by the host or for its proxy.
func (r *Resolver) address(ctx context.Context, q dnsmessage.Question, name string) found {
	var proxied Decision
	ask := ctx
	if r.Proxy != nil && !OnlyHost(name) {
		if proxied = r.Proxy.Resolves(name); proxied.Allow {
			var cancel context.CancelFunc
			ask, cancel = context.WithTimeout(ctx, proxyLimit)
			defer cancel()
		}
	}
	res, err := r.Upstream.Lookup(ask, name, q.Type)
	exists := err == nil && res.Code == dnsmessage.RCodeSuccess
	switch {
	case exists || ctx.Err() != nil:
	case proxied.Allow && r.Synthetic != nil:
		return r.synthetic(ctx, q, name)
	case proxied.Reason != "":
		r.report(ctx, q, true, proxied.Reason)
		return noSuchName
	}
	if err != nil {
		r.fault(ctx, q, err)
		return failed
	}
	return r.answer(q, name, res)
}

// synthetic answers for a name that only the proxy can resolve. It has an IPv4
// address only.
func (r *Resolver) synthetic(ctx context.Context, q dnsmessage.Question, name string) found {
	if q.Type != dnsmessage.TypeA {
		return nothing
	}
	addr, ok := r.Synthetic.Addr(name)
	if !ok {
		r.report(ctx, q, false, "too many names that only the proxy resolves")
		return failed
	}
	f := own(q, []netip.Addr{addr})
	r.pinOwn(name, f)
	return f
}

// ask answers by the host.
func (r *Resolver) ask(ctx context.Context, q dnsmessage.Question, name string) found {
	res, err := r.Upstream.Lookup(ctx, name, q.Type)
	if err != nil {
		r.fault(ctx, q, err)
		return failed
	}
	return r.answer(q, name, res)
}

// txt answers a question for text within the budget, which the question counts
// against too: both ways lead out.
func (r *Resolver) txt(ctx context.Context, q dnsmessage.Question, name string) found {
	const over = "text records over the budget of a minute"
	if !r.text.take(len(name)) {
		r.report(ctx, q, true, over)
		return refused
	}
	f := r.ask(ctx, q, name)
	size := 0
	for _, rec := range f.records {
		switch b := rec.Body.(type) {
		case *dnsmessage.TXTResource:
			for _, s := range b.TXT {
				size += len(s)
			}
		case *dnsmessage.CNAMEResource:
			size += int(b.CNAME.Length)
		}
	}
	if !r.text.take(size) {
		r.report(ctx, q, true, over)
		return refused
	}
	return f
}

// answer makes an answer of what the host found, and pins its addresses.
//
// Aliases may lead out of the list: allowed names mostly do, to a CDN's. The name
// that was asked is what the user allowed, its owner chose the alias, and what
// the guest then says in TLS or HTTP is that name too. So it alone is judged, and
// the addresses are pinned to it alone: a pin to a name on the way would let one
// rule's name pass as another's.
func (r *Resolver) answer(q dnsmessage.Question, name string, res Result) found {
	f := found{code: res.Code}
	ttl := uint32(min(res.TTL, maxTTL) / time.Second)
	for _, rec := range res.Records {
		if Clean(rec.Header.Name.String()) == name {
			rec.Header.Name = q.Name // in the case of the question
		}
		rec.Header.TTL = ttl
		f.records = append(f.records, rec)
	}
	f.zone = len(f.records) == 0 || f.records[len(f.records)-1].Header.Type != q.Type
	for _, a := range res.addresses() {
		// An address that stands for a name of the proxy's is nobody else's.
		if !SyntheticPrefix.Contains(a) {
			r.Pins.Add(a, name, res.TTL)
		}
	}
	return f
}

// pinOwn pins the addresses of an answer that is banger's own.
func (r *Resolver) pinOwn(name string, f found) {
	for _, a := range (Result{Records: f.records}).addresses() {
		r.Pins.Add(a, name, localTTL)
	}
}

// reverse answers for names of addresses: those that were pinned, by what they
// were pinned to. The host is never asked: it knows its network's names.
func (r *Resolver) reverse(q dnsmessage.Question, name string) found {
	addr, ok := reverseAddr(name)
	if !ok {
		return noSuchName
	}
	names := r.Pins.Names(addr)
	if len(names) == 0 {
		return noSuchName
	}
	names = names[:min(len(names), maxReverse)]
	var f found
	for _, n := range names {
		target, err := dnsmessage.NewName(n + ".")
		if err != nil || q.Type != dnsmessage.TypePTR {
			continue
		}
		f.records = append(f.records, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET, TTL: uint32(localTTL / time.Second)},
			Body:   &dnsmessage.PTRResource{PTR: target},
		})
	}
	f.zone = len(f.records) == 0
	return f
}

// fault reports a look-up that the host could not do. The error's first part is the
// question's.
func (r *Resolver) fault(ctx context.Context, q dnsmessage.Question, err error) {
	if inner := errors.Unwrap(err); inner != nil {
		err = inner
	}
	r.report(ctx, q, false, "the host can't look it up: "+err.Error())
}

func (r *Resolver) report(ctx context.Context, q dnsmessage.Question, denied bool, reason string) {
	if r.Report == nil {
		return
	}
	name := Clean(q.Name.String())
	if !valid(name) {
		name = strconv.Quote(name)
	}
	r.Report(ctx, Refusal{name, q.Type, denied, cmp.Or(reason, "denied")})
}
