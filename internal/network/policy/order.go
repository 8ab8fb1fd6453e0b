package policy

import (
	"cmp"
	"net/netip"
	"slices"
)

// The levels of a rule, the highest of which counts.
const (
	levelProfile = iota
	levelGroup
	levelSuffix
	levelExact
)

// hit is a rule that means what is asked.
type hit struct {
	rule   Rule
	entry  Pattern // of a group: the pattern that means the name
	level  int
	suffix int // bytes of a suffix: the longer counts
}

// compare orders hits, the one that counts last: level, longer suffix, a port before none,
// a flag before the configuration, deny before allow.
func compare(a, b hit) int {
	return cmp.Or(
		cmp.Compare(a.level, b.level),
		cmp.Compare(a.suffix, b.suffix),
		cmp.Compare(truth(a.rule.Port != 0), truth(b.rule.Port != 0)),
		cmp.Compare(truth(a.rule.Origin.Source == FromFlag), truth(b.rule.Origin.Source == FromFlag)),
		cmp.Compare(truth(a.rule.Action == Deny), truth(b.rule.Action == Deny)),
	)
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// subject is what rules are held against. Name is canonical, or empty for an address
// that was not asked for by a name.
type subject struct {
	name string
	addr netip.Addr // zero before it is known
	port uint16
	// anyPort: it was asked for no port, and this is one of those that are tried.
	anyPort bool
	closed  func() (Closure, bool) // of addr, asked at most once a question
}

// hits are the rules of the policy that mean a subject, the one that counts last.
func (p Policy) hits(s subject) []hit {
	var out []hit
	for _, r := range p.Rules {
		if h, ok := p.meets(r, s); ok {
			out = append(out, h)
		}
	}
	if p.Profile == Dev && s.name != "" {
		for _, name := range loadGroups().order {
			g := groups()[name]
			if e, ok := g.has(s.name, s.port, false); ok && g.Dev {
				r := Rule{Allow, Pattern{Kind: Group, Name: name}, Origin{Source: FromProfile}}
				out = append(out, hit{rule: r, entry: e, level: levelProfile})
			}
		}
	}
	slices.SortStableFunc(out, compare)
	return out
}

// meets says whether and how a rule means a subject.
func (p Policy) meets(r Rule, s subject) (hit, bool) {
	h := hit{rule: r, entry: r.Pattern, level: levelExact}
	switch r.Kind {
	case Address:
		if !s.addr.IsValid() || r.Addr != s.addr.Unmap() {
			return hit{}, false
		}
	case Group:
		g, ok := groups()[r.Name]
		if !ok || s.name == "" {
			return hit{}, false
		}
		if h.entry, ok = g.has(s.name, s.port, r.Action == Deny); !ok {
			return hit{}, false
		}
		h.level = levelGroup
	default:
		if s.name == "" || !r.names(s.name) {
			return hit{}, false
		}
		if r.Kind == Below || r.Kind == Both && s.name != r.Name {
			h.level, h.suffix = levelSuffix, len(r.Name)
		}
	}
	switch r.Origin.Source {
	case FromMirrors, FromImage:
		if p.Profile == DenyAll {
			return hit{}, false
		}
		h.level, h.suffix = levelProfile, 0
	}
	return h, r.hits(s.port)
}
