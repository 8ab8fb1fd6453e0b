package policy

import (
	"errors"
	"fmt"
	"slices"
)

// Heard judges a connection again by what its first bytes say: v is the answer of Judge
// for q. It changes an allowed verdict only, and only one with Look. The connection is
// made by then, so a denial is a reset.
func (j *Judge) Heard(q Question, v Verdict, s Said) Verdict {
	if !v.Allow || !v.Look {
		return v
	}
	if !s.Complete {
		return v.refuse("its first bytes are not whole")
	}
	if (s.Kind == TLS || s.Kind == HTTP || s.Kind == HTTP2) && len(s.Names) > 0 && s.Broken == "" {
		for _, n := range s.Names {
			if d := j.said(q, v, s, n); !d.Allow {
				return d
			}
		}
		return v
	}
	switch {
	case s.Broken != "" && s.Kind != NotYet:
		// It may say anything, to a server that reads it after all.
		return v.refuse(fmt.Sprintf("its %s is not readable: %s", s.Kind, s.Broken))
	case s.Broken != "" && v.MustSay:
		return v.refuse("its first bytes are not readable: " + s.Broken)
	case s.Kind != Other && s.Broken == "" && v.MustSay:
		return v.refuse(fmt.Sprintf("its %s says no name, and must say an allowed one", s.Kind))
	}
	// It says nothing that could be judged: by its address.
	return j.unsaid(q, v)
}

// said judges one name that the first bytes say.
func (j *Judge) said(q Question, v Verdict, s Said, n string) Verdict {
	kind := s.Kind
	name, err := canonical(n)
	if err != nil {
		if _, ok := literal(n); !v.MustSay && (ok || errors.Is(err, errIsAddress)) {
			return j.unsaid(q, v)
		}
		return v.refuse(fmt.Sprintf("its %s says %q, which is no name", kind, brief(n)))
	}
	if isHostName(name) || isVMName(name) {
		return v.refuse(fmt.Sprintf("its %s says %s, which is not there", kind, name))
	}
	d := j.one(j.subject(q, name), q.ByProxy)
	if !d.Allow && s.Asked != 0 && v.Rule != nil && v.Rule.opens() {
		// The host and port are named, as a proxy is: what it is asked for is judged by name.
		d = j.one(j.subject(Question{Port: s.Asked}, name), true)
	}
	if d.Allow {
		return v
	}
	d.Quiet = noise(name)
	d.Reason = fmt.Sprintf("its %s says %s: %s", kind, name, d.Reason)
	return d
}

// unsaid denies a connection whose address is one of an exactly denied name, unless a rule
// that comes before allows it.
func (j *Judge) unsaid(q Question, v Verdict) Verdict {
	for _, n := range q.Denied {
		name, err := canonical(n)
		if err != nil {
			continue
		}
		s := j.subject(q, name)
		hits := j.policy.hits(s)
		if v.Rule != nil {
			// The rule that lets it pass competes with the denial.
			for _, h := range j.policy.hits(j.subject(q, v.Name)) {
				if h.rule == *v.Rule {
					hits = append(hits, h)
				}
			}
			slices.SortStableFunc(hits, compare)
		}
		if len(hits) == 0 || hits[len(hits)-1].rule.Action != Deny {
			continue
		}
		best := hits[len(hits)-1]
		d := Verdict{Name: name, Rule: &best.rule}
		d.Reason = fmt.Sprintf("%s is an address of %s, denied by %s (%s)", q.Addr, name, best.rule, best.rule.Origin)
		return d
	}
	return v
}

// refuse turns an allowed verdict into a denial.
func (v Verdict) refuse(reason string) Verdict {
	return Verdict{Name: v.Name, Rule: v.Rule, Entry: v.Entry, Reason: reason}
}
