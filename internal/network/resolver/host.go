package resolver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Host asks as the host does: systemd-resolved where it runs, else /etc/hosts and
// the servers of resolv.conf. The zero value asks this host. Its methods may be
// called at once; its fields are not changed once it is in use. Close it.
type Host struct {
	ResolvConf string // the path of resolv.conf; "" is /etc/resolv.conf
	Hosts      string // the path of the hosts file; "" is /etc/hosts
	Bus        string // the D-Bus address of the system bus; "" is the usual one
	Port       uint16 // of the servers; 0 is 53

	conf   file[conf]
	hosts  file[hosts]
	turn   atomic.Uint32 // which server is first, with the option rotate
	broker broker
}

// Close ends the connection to the bus. A call after it makes a new one.
func (h *Host) Close() { h.broker.close() }

// Lookup finds the records of one type that name has. It takes 10 seconds at
// most, whatever the host's configuration allows. A name that does not exist is a
// Result; an error means that nobody could tell.
func (h *Host) Lookup(ctx context.Context, name string, t Type) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	res, err := h.lookup(ctx, name, t)
	if err != nil {
		return Result{}, fmt.Errorf("look up %q (%s): %w", name, typeName(t), err)
	}
	res.TTL = shortest(res.Records)
	return res, nil
}

func (h *Host) lookup(ctx context.Context, name string, t Type) (Result, error) {
	if !valid(Clean(name)) {
		return Result{}, errors.New("this is not the name of a host")
	}
	wire, err := dnsmessage.NewName(Clean(name) + ".")
	if err != nil {
		return Result{}, err
	}
	q := dnsmessage.Question{Name: wire, Type: t, Class: dnsmessage.ClassINET}
	res, err := h.broker.lookup(ctx, cmp.Or(h.Bus, systemBus), q)
	if !errors.Is(err, errNoResolved) {
		return res, err
	}
	table, err := h.hosts.get(cmp.Or(h.Hosts, "/etc/hosts"), parseHosts)
	if err != nil {
		return Result{}, err
	}
	if addrs, ok := table[Clean(name)]; ok && (t == dnsmessage.TypeA || t == dnsmessage.TypeAAAA) {
		// The file is the whole truth of a name that is in it, for the other family
		// too: systemd-resolved and Go hold it so.
		return Result{Records: addressRecords(wire, t, addrs, 0)}, nil
	}
	return h.ask(ctx, q)
}

// ask asks the servers of resolv.conf, and again for an alias whose target the
// answer does not have.
func (h *Host) ask(ctx context.Context, q dnsmessage.Question) (Result, error) {
	c, err := h.conf.get(cmp.Or(h.ResolvConf, "/etc/resolv.conf"), parseConf)
	if err != nil {
		return Result{}, err
	}
	var all []dnsmessage.Resource
	for {
		r, err := h.askServers(ctx, c, q)
		if err != nil {
			return Result{}, err
		}
		end, records, err := follow(q.Name.String(), q.Type, r.answers)
		if err != nil {
			return Result{}, err
		}
		all = append(all, records...)
		aliases := 0
		for _, a := range all {
			if a.Header.Type == dnsmessage.TypeCNAME {
				aliases++
			}
		}
		switch {
		case q.Type != dnsmessage.TypeCNAME && aliases > maxChain:
			return Result{}, errChain
		case r.code == dnsmessage.RCodeSuccess && len(records) > 0 && records[len(records)-1].Header.Type != q.Type:
			if q.Name, err = dnsmessage.NewName(end + "."); err != nil {
				return Result{}, err
			}
		default:
			return Result{Code: r.code, Records: all}, nil
		}
	}
}

// askServers asks one server after another, as often as the configuration says.
// Only an answer that says what is so ends it: SERVFAIL and REFUSED say no more
// than that this server can't tell.
func (h *Host) askServers(ctx context.Context, c conf, q dnsmessage.Question) (reply, error) {
	port := cmp.Or(h.Port, 53)
	first := 0
	if c.rotate {
		first = int(h.turn.Add(1) - 1)
	}
	var last error
	for range c.attempts {
		for i := range c.servers {
			server := netip.AddrPortFrom(c.servers[(first+i)%len(c.servers)], port)
			r, err := c.try(ctx, server, q)
			if err == nil && (r.code == dnsmessage.RCodeSuccess || r.code == dnsmessage.RCodeNameError) {
				return r, nil
			}
			if err == nil {
				err = fmt.Errorf("the server %s answers %s", server, codeName(r.code))
			}
			if ctx.Err() != nil {
				return reply{}, cmp.Or(last, err)
			}
			last = err
		}
	}
	return reply{}, last
}

// Addresses finds all addresses of name, of both families. It fails only if
// neither family has an answer; a name that does not exist has no addresses and no
// error.
func (h *Host) Addresses(ctx context.Context, name string) ([]netip.Addr, time.Duration, error) {
	type found struct {
		res Result
		err error
	}
	six := make(chan found, 1)
	go func() { // ends with its lookup, within 10 seconds; waited for below
		res, err := h.Lookup(ctx, name, dnsmessage.TypeAAAA)
		six <- found{res, err}
	}()
	res4, err4 := h.Lookup(ctx, name, dnsmessage.TypeA)
	f := <-six
	if err4 != nil && f.err != nil {
		return nil, 0, err4
	}
	addrs := append(f.res.addresses(), res4.addresses()...)
	ttl := res4.TTL
	if len(res4.Records) == 0 || len(f.res.Records) > 0 && f.res.TTL < ttl {
		ttl = f.res.TTL
	}
	return addrs, ttl, nil
}

// addresses are those among the records.
func (r Result) addresses() (out []netip.Addr) {
	for _, rec := range r.Records {
		switch b := rec.Body.(type) {
		case *dnsmessage.AResource:
			out = append(out, netip.AddrFrom4(b.A))
		case *dnsmessage.AAAAResource:
			out = append(out, netip.AddrFrom16(b.AAAA).Unmap())
		}
	}
	return out
}

// addressRecords are records of those addresses that belong to the type t.
func addressRecords(owner dnsmessage.Name, t Type, addrs []netip.Addr, ttl uint32) (out []dnsmessage.Resource) {
	for _, a := range addrs {
		h := dnsmessage.ResourceHeader{Name: owner, Type: t, Class: dnsmessage.ClassINET, TTL: ttl}
		switch {
		case t == dnsmessage.TypeA && a.Is4():
			out = append(out, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
		case t == dnsmessage.TypeAAAA && a.Is6():
			out = append(out, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	return out
}
