package policy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Action is what a rule does.
type Action string

const (
	Allow Action = "allow"
	Deny  Action = "deny"
)

// Kind is what a rule's pattern means.
type Kind int

const (
	Exact   Kind = iota // example.org
	Below               // *.example.org
	Both                // .example.org: example.org and what is below it
	Address             // one address
	Group               // @node
	Host                // host:3000, a port of the host's loopback
)

// Source is where a rule comes from.
type Source string

const (
	FromFlag    Source = "flag"
	FromConfig  Source = "config"
	FromMirrors Source = "mirrors" // configuration of the host's package clients
	FromImage   Source = "image"   // configuration of clients in banger's own image
	FromProfile Source = "profile"
	FromBuiltin Source = "built in"
)

// Origin is a rule's source, with the file if it has one.
type Origin struct {
	Source Source `json:"source"`
	File   string `json:"file,omitempty"`
}

func (o Origin) String() string {
	if o.File == "" {
		return string(o.Source)
	}
	return string(o.Source) + ", " + o.File
}

// Pattern is what a rule is about. Without a port (0) an allowing rule means 80 and 443,
// a denying rule every port; a group's names have their own.
type Pattern struct {
	Kind Kind
	Name string     // canonical, without marks; a group's name; empty for Address and Host
	Addr netip.Addr // for Address: unmapped, without a zone
	Port uint16
}

// String is the form that is typed.
func (p Pattern) String() string {
	s := p.Name
	switch p.Kind {
	case Below:
		s = "*." + s
	case Both:
		s = "." + s
	case Group:
		s = "@" + s
	case Host:
		s = "host"
	case Address:
		s = p.Addr.String()
		if p.Addr.Is6() && p.Port != 0 {
			s = "[" + s + "]"
		}
	}
	if p.Port == 0 {
		return s
	}
	return s + ":" + strconv.Itoa(int(p.Port))
}

// Rule allows or denies. Its JSON holds the pattern as it is typed.
type Rule struct {
	Action Action
	Pattern
	Origin Origin
}

// String is the flag that makes the rule.
func (r Rule) String() string { return "--" + string(r.Action) + " " + r.Pattern.String() }

type ruleJSON struct {
	Action  Action `json:"action"`
	Pattern string `json:"pattern"`
	Origin  Origin `json:"origin"`
}

func (r Rule) MarshalJSON() ([]byte, error) {
	return json.Marshal(ruleJSON{r.Action, r.Pattern.String(), r.Origin})
}

// UnmarshalJSON reads a rule of a record. A group that this version doesn't know stays,
// and matches nothing: a VM's record must not become unreadable because of it.
func (r *Rule) UnmarshalJSON(text []byte) error {
	var in ruleJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	if in.Action != Allow && in.Action != Deny {
		return fmt.Errorf("read a rule: no action is called %q", in.Action)
	}
	p, err := parsePattern(in.Pattern)
	if err != nil {
		return fmt.Errorf("read a rule: %w", err)
	}
	*r = Rule{in.Action, p, in.Origin}
	return nil
}

// names says whether a rule by name means this canonical name.
func (p Pattern) names(name string) bool {
	switch p.Kind {
	case Exact:
		return name == p.Name
	case Below:
		return below(name, p.Name)
	case Both:
		return name == p.Name || below(name, p.Name)
	case Host:
		return isHostName(name)
	}
	return false
}

func below(name, suffix string) bool {
	return len(name) > len(suffix)+1 && strings.HasSuffix(name, suffix) && name[len(name)-len(suffix)-1] == '.'
}

// hits says whether a rule's port means port. A zero port asks for any.
func (r Rule) hits(port uint16) bool {
	switch {
	case r.Port != 0:
		return r.Port == port
	case r.Action == Deny, r.Kind == Group:
		return true
	}
	return port == 80 || port == 443
}
