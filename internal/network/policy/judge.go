package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
)

// Proto is what a guest asks for.
type Proto string

const (
	TCP  Proto = "tcp"
	UDP  Proto = "udp"
	ICMP Proto = "icmp" // an echo, without a port
)

// Question is about one connection, or one name that is to be resolved.
type Question struct {
	// Names are the pinned names of the address, the last pinned first, or the one name that
	// was asked for. They may be anything that a guest sent.
	Names []string
	// Addr is zero before the name is resolved.
	Addr netip.Addr
	// Port is 0 for an echo, and for a name that is resolved for any port.
	Port  uint16
	Proto Proto
	// Denied are the exactly denied names (Policy.DeniedNames) to which the caller itself
	// resolves Addr now.
	Denied []string
	// ByProxy says that this host can't resolve the name, but an upstream proxy may.
	ByProxy bool
}

// Target is where an allowed connection goes.
type Target string

const (
	ToAddress Target = ""     // to the address of the question
	ToHost    Target = "host" // to the same port of the host's loopback
	ToVM      Target = "vm"   // to the port of the VM that Verdict.Name names
)

// Verdict is the answer. Everything of it can be shown to people as it is.
type Verdict struct {
	Allow  bool
	Target Target
	Name   string // canonical, of the question's names the one that decided, or empty
	// Rule decided, unless it is nil: then the profile did, or the address is closed.
	Rule *Rule
	// Entry is the pattern of a group that Rule means.
	Entry  string
	Reason string // one line
	// Hint is the flag that would allow it, or empty: nothing would, or another rule
	// has to go.
	Hint string
	// MustSay: a rule by name lets the connection pass, so that first bytes which are TLS or
	// HTTP must say an allowed name.
	MustSay bool
	// Look: the first bytes are to be read, and Heard asked, before they go on. MustSay
	// includes it.
	Look bool
	// Quiet denials need no line in the log.
	Quiet bool
}

// Judge is a policy on one host.
type Judge struct {
	policy Policy
	routes Routes
	denies bool // some rule denies by name
}

// New returns the judge of a policy, which the caller no longer changes.
func New(p Policy, routes Routes) *Judge {
	denies := slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.Action == Deny && r.Kind != Address })
	return &Judge{p, routes, denies}
}

// Judge answers before a name is resolved, and again before its address is dialled.
func (j *Judge) Judge(q Question) Verdict {
	v := j.judge(q)
	if v.Allow && q.Proto == ICMP && v.Target == ToAddress {
		v = j.unsaid(q, v) // an echo has no first bytes
	}
	v.Quiet = !v.Allow && noise(v.Name)
	v.Look = v.Allow && q.Proto == TCP && v.Target == ToAddress && (q.Addr.IsValid() || q.ByProxy) && (v.MustSay || j.denies)
	return v
}

func (j *Judge) judge(q Question) Verdict {
	switch {
	case q.Proto == UDP:
		return Verdict{Reason: "UDP is not carried, but for DNS and the time"}
	case q.Proto != TCP && q.Proto != ICMP:
		return Verdict{Reason: fmt.Sprintf("the protocol %q is not carried", q.Proto)}
	case q.Port == 53:
		return Verdict{Reason: "port 53 is answered by banger's resolver only"}
	case q.Addr.IsValid() && q.Addr.Zone() != "":
		return Verdict{Reason: fmt.Sprintf("%q has a zone, and addresses of one link are closed", q.Addr.String())}
	}
	q.Addr = q.Addr.Unmap()
	if len(q.Names) == 0 {
		if !q.Addr.IsValid() {
			return Verdict{Reason: "there is neither a name nor an address"}
		}
		return j.anyPort(j.subject(q, ""), q.ByProxy)
	}
	s := j.subject(q, "")
	var first *Verdict
	for _, n := range q.Names {
		name, err := canonical(n)
		v := Verdict{Reason: fmt.Sprintf("%q is no name: %v", brief(n), err)}
		if err == nil {
			s.name = name
			v = j.anyPort(s, q.ByProxy)
		}
		if v.Allow {
			return v
		}
		if first == nil {
			first = &v
		}
	}
	return *first
}

// subject is what rules are held against, for a canonical name of a question.
func (j *Judge) subject(q Question, name string) subject {
	a := q.Addr.Unmap()
	return subject{
		name: name, addr: a, port: q.Port,
		closed: sync.OnceValues(func() (Closure, bool) { return Closed(j.routes, a) }),
	}
}

// brief bounds what a guest sent, for a message.
func brief(s string) string {
	if len(s) > maxName {
		return s[:maxName]
	}
	return s
}

// anyPort answers a question without a port: is there one that is allowed?
func (j *Judge) anyPort(s subject, byProxy bool) Verdict {
	if s.port != 0 {
		return j.one(s, byProxy)
	}
	s.port, s.anyPort = 443, true
	first := j.one(s, byProxy)
	if first.Allow {
		return first
	}
	for _, s.port = range j.ports() {
		if v := j.one(s, byProxy); v.Allow {
			return v
		}
	}
	return first
}

// ports are those that the rules make a difference for, with one that none names.
func (j *Judge) ports() []uint16 {
	out := []uint16{80, 22}
	for _, r := range j.policy.Rules {
		if r.Port != 0 && !slices.Contains(out, r.Port) {
			out = append(out, r.Port)
		}
	}
	for p := uint16(1); ; p++ {
		if p != 53 && !slices.Contains(out, p) {
			return append(out, p)
		}
	}
}

// one judges one name, or none, with a port.
func (j *Judge) one(s subject, byProxy bool) Verdict {
	v := Verdict{Name: s.name}
	hits := j.policy.hits(s)
	var best *hit
	if len(hits) > 0 {
		best = &hits[len(hits)-1]
		v.Rule = &best.rule
		if best.rule.Kind == Group {
			v.Entry = best.entry.String()
		}
	}
	if best != nil && best.rule.Action == Deny {
		v.Reason = fmt.Sprintf("%s is denied by %s (%s)", s.what(), best.rule, best.rule.Origin)
		v.Hint = j.advice(s, best)
		return v
	}
	if isHostName(s.name) || isVMName(s.name) {
		return j.inside(v, s, best)
	}
	if s.name == "localhost" || below(s.name, "localhost") {
		return Verdict{Name: s.name, Reason: "localhost is the guest's own", Hint: Rule{Allow, Pattern{Kind: Host, Port: s.port}, Origin{}}.String()}
	}
	if byProxy {
		return j.throughProxy(v, s, best)
	}
	closed := false
	if s.addr.IsValid() {
		var c Closure
		if c, closed = s.closed(); closed {
			opener := slices.IndexFunc(hits, func(h hit) bool { return h.rule.opens() })
			if c.Never || opener < 0 {
				return j.closed(v, s, c)
			}
			v.Rule, v.Entry, best = &hits[opener].rule, "", &hits[opener]
		}
	}
	public := j.policy.Profile == Public && !closed
	switch {
	case best != nil:
		v.Allow, v.Reason = true, fmt.Sprintf("%s is allowed by %s (%s)", s.what(), best.rule, best.rule.Origin)
		v.MustSay = best.rule.Kind != Address && !public
	case public:
		v.Allow, v.Reason = true, "the profile public allows every public address"
	default:
		v.Reason = fmt.Sprintf("%s is not allowed by the profile %s", s.what(), j.policy.Profile)
		if s.name == "" {
			v.Reason = fmt.Sprintf("no allowed name leads to %s", s.what())
		}
		v.Hint = j.advice(s, nil)
	}
	return v
}

func (s subject) what() string {
	p := Pattern{Kind: Exact, Name: s.name, Port: s.port}
	if s.name == "" {
		p = Pattern{Kind: Address, Addr: s.addr, Port: s.port}
	}
	if s.anyPort {
		p.Port = 0
	}
	return p.String()
}

// opens says whether a rule that means a subject opens an address that is closed: one
// host and one port, in the user's own words or in those of a package client.
func (r Rule) opens() bool {
	return (r.Kind == Exact || r.Kind == Address) && r.ownWords()
}

// ownWords says whether a rule allows one port, in the user's own words or in those of a package client.
func (r Rule) ownWords() bool {
	if r.Action != Allow || r.Port == 0 {
		return false
	}
	switch r.Origin.Source {
	case FromFlag, FromConfig, FromMirrors:
		return true
	}
	return false
}

// inside judges the names of this host and of other VMs, whose addresses the caller has.
func (j *Judge) inside(v Verdict, s subject, best *hit) Verdict {
	v.Target = ToVM
	if isHostName(s.name) {
		v.Target = ToHost
	}
	exact := best != nil && (best.rule.Kind == Host || best.rule.Kind == Exact)
	if exact && best.rule.ownWords() && best.rule.Port == s.port {
		v.Allow, v.Reason = true, fmt.Sprintf("%s is allowed by %s (%s)", s.what(), best.rule, best.rule.Origin)
		return v
	}
	v.Rule, v.Entry = nil, ""
	v.Reason = fmt.Sprintf("%s is opened port by port", s.what())
	v.Hint = Rule{Action: Allow, Pattern: Pattern{Kind: Exact, Name: s.name, Port: s.port}}.String()
	if v.Target == ToHost {
		v.Hint = Rule{Action: Allow, Pattern: Pattern{Kind: Host, Port: s.port}}.String()
	}
	return v
}

// throughProxy judges a name that is left to an upstream proxy to resolve. Under public
// alone it is refused: a hostile name would make the proxy dial the host's network.
func (j *Judge) throughProxy(v Verdict, s subject, best *hit) Verdict {
	switch {
	case s.name == "":
		v.Reason = "an address is not left to a proxy"
	case localOnly(s.name):
		v.Reason = fmt.Sprintf("%s means something on this host's network only, and is not left to a proxy", s.name)
	case best != nil && best.rule.Kind != Address:
		v.Allow, v.MustSay = true, true
		v.Reason = fmt.Sprintf("%s is allowed by %s (%s)", s.what(), best.rule, best.rule.Origin)
	case j.policy.Profile == Public && j.policy.ProxyResolves:
		v.Allow, v.Reason = true, "the profile public with proxy_resolves: the proxy, not banger, keeps the host's network closed"
	default:
		v.Reason = fmt.Sprintf("only the proxy can resolve %s, and no rule allows it by name", s.name)
		v.Hint = j.advice(s, nil)
	}
	return v
}

// closed is the verdict about a closed address.
func (j *Judge) closed(v Verdict, s subject, c Closure) Verdict {
	v.Rule, v.Entry, v.Reason = nil, "", c.Reason
	if s.name != "" {
		v.Reason = s.name + " is at a closed address: " + c.Reason
	}
	switch {
	case c.Class == Loopback || c.Class == OwnAddress:
		v.Hint = Rule{Action: Allow, Pattern: Pattern{Kind: Host, Port: s.port}}.String()
	case !c.Never:
		v.Hint = j.open(s, true)
	}
	return v
}

// advice is the flag that allows a subject which a hit or the profile denies, or "".
func (j *Judge) advice(s subject, denial *hit) string {
	if denial == nil {
		return j.open(s, s.port != 80 && s.port != 443)
	}
	top := denial.level == levelExact && denial.rule.Origin.Source == FromFlag
	if top && denial.rule.Port != 0 {
		return "" // nothing comes before it
	}
	return j.open(s, true)
}

func (j *Judge) open(s subject, withPort bool) string {
	p := Pattern{Kind: Exact, Name: s.name}
	if s.name == "" {
		p = Pattern{Kind: Address, Addr: s.addr}
	}
	if withPort {
		p.Port = s.port
	}
	return Rule{Action: Allow, Pattern: p}.String()
}

// Below says whether a rule may allow a name below this one: it is answered as existing
// then, without addresses.
func (j *Judge) Below(name string) bool {
	name, err := canonical(name)
	if err != nil {
		return false
	}
	lies := func(p Pattern) bool {
		switch p.Kind {
		case Below, Both:
			return p.Name == name || below(p.Name, name) || below(name, p.Name)
		case Exact:
			return below(p.Name, name)
		case Host:
			return below(HostName, name) || below(HostNameDocker, name)
		}
		return false
	}
	for _, r := range j.policy.Rules {
		g := groups()[r.Name]
		if r.Action == Allow && (lies(r.Pattern) || r.Kind == Group && g != nil && slices.ContainsFunc(g.Rules, lies)) {
			return true
		}
	}
	if j.policy.Profile == Dev {
		for _, g := range groups() {
			if g.Dev && slices.ContainsFunc(g.Rules, lies) {
				return true
			}
		}
	}
	// Under public a name that no rule names stands for all of them.
	return j.policy.Profile == Public && j.Judge(Question{Names: []string{"any." + name}, Proto: TCP}).Allow
}
