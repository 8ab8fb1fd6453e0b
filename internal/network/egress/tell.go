package egress

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
	"banger/internal/network/policy"
)

const (
	// maxTelling bounds the denials that the guest is told of at once: of others it is not, and
	// who asked is not known.
	maxTelling = 64
	// endLimit is for how long a connection that is there goes on after a change of the policy
	// denies it, so that the guest can say whose it is: its process can't be found after it.
	endLimit = 250 * time.Millisecond
)

// asker is who in the guest asks for something, as its packets have it.
type asker struct {
	proto    string // netflow.TCP, UDP or ICMP
	from, to netip.AddrPort
}

// askerOf leaves zones out: they may be of any length.
func askerOf(proto string, r netflow.Request) asker {
	return asker{proto, withoutZone(r.From), withoutZone(r.Addr)}
}

func withoutZone(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().WithZone(""), a.Port())
}

// askerKey is the key of a question's asker among a context's values.
type askerKey struct{}

// deny records a denial when the guest has said who asked, limit later at the latest. What waits
// for its answer gets it after that: its process is there until then, and the log has it.
func (g *Guest) deny(a asker, q policy.Question, v policy.Verdict, limit time.Duration) {
	if !v.Quiet {
		g.recordDenial(a, eventOf(q, v), limit)
	}
}

// eventOf is a question that was answered so.
func eventOf(q policy.Question, v policy.Verdict) Event {
	e := Event{Name: v.Name, Port: q.Port, Proto: string(q.Proto), Reason: v.Reason, Allow: v.Hint}
	if e.Name == "" && len(q.Names) > 0 {
		e.Name = q.Names[0]
	}
	if q.Addr.IsValid() {
		e.Addr = q.Addr.String()
	}
	return e
}

func (g *Guest) recordDenial(a asker, e Event, limit time.Duration) {
	e.Process = g.tell(a, e, limit)
	g.record(e)
}

// tell tells the guest of a denial, and returns which process asked, as the guest says: "" if it
// does not know, or does not say within limit.
func (g *Guest) tell(a asker, e Event, limit time.Duration) (process string) {
	if g.cfg.Tell == nil || !a.from.IsValid() {
		return ""
	}
	select {
	case g.telling <- struct{}{}:
		defer func() { <-g.telling }()
	default:
		return ""
	}
	ctx, cancel := context.WithTimeout(g.life, limit)
	defer cancel()
	r := netflow.Request{Kind: netflow.Denial, Proto: a.proto, From: a.from, Addr: a.to, Text: e.String()}
	for len(r.Marshal()) > flow.MaxHeader {
		r.Text = strings.ToValidUTF8(r.Text[:len(r.Text)/2], "")
	}
	process = g.cfg.Tell(ctx, r)
	return process[:min(len(process), netflow.MaxProcess)]
}

// String is the event without its time, as the guest's own programs see it.
func (e Event) String() string {
	what := e.Name
	if what == "" {
		what = e.Addr
	}
	if e.Port != 0 {
		what = net.JoinHostPort(what, strconv.Itoa(int(e.Port)))
	}
	if e.Name != "" && e.Addr != "" {
		what += " (" + e.Addr + ")"
	}
	text := e.Proto + " " + what + ": " + e.Reason
	if e.Allow != "" {
		text += "; " + e.Allow + " allows it"
	}
	return text
}
