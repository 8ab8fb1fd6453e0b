package policy

import (
	"fmt"
	"slices"

	"banger/internal/hint"
)

// Profile is what a VM reaches without rules.
type Profile string

const (
	DenyAll Profile = "deny"   // nothing
	Dev     Profile = "dev"    // forges, hosts of tools, registries that clients are configured with
	Public  Profile = "public" // every public address
)

// Profiles are all profiles, the strictest first. Public is the default.
var Profiles = []Profile{DenyAll, Dev, Public}

// ParseProfile reads a value of --egress; an empty one is the default.
func ParseProfile(s string) (Profile, error) {
	switch {
	case s == "":
		return Public, nil
	case slices.Contains(Profiles, Profile(s)):
		return Profile(s), nil
	}
	return "", hint.Add(fmt.Errorf("no profile is called %q", s), "type --egress deny, dev or public")
}

// UnmarshalText reads a profile of a record.
func (p *Profile) UnmarshalText(text []byte) (err error) {
	*p, err = ParseProfile(string(text))
	return err
}

// MaxRules bounds a policy's rules: each connection is held against each of them.
const MaxRules = 1024

// Policy is what a VM may reach. Rules of mirrors and of the image count in the profiles
// dev and public, as a part of them.
type Policy struct {
	Profile Profile `json:"profile"`
	// ProxyResolves leaves names that only an upstream proxy can resolve to it, under
	// public without a rule too. The proxy, not banger, keeps the host's network closed then.
	ProxyResolves bool   `json:"proxy_resolves,omitempty"`
	Rules         []Rule `json:"rules,omitempty"`
}

// Check refuses a policy that is too large.
func (p Policy) Check() error {
	if len(p.Rules) > MaxRules {
		return hint.Add(fmt.Errorf("the policy has %d rules, and may have %d", len(p.Rules), MaxRules), "use .NAME for all names below a name, or a group")
	}
	return nil
}

// DeniedNames are the names that are denied exactly, without stars, each once: the
// caller keeps their addresses for Question.Denied.
func (p Policy) DeniedNames() []string {
	var names []string
	for _, r := range p.Rules {
		exact := r.Kind == Exact || r.Kind == Both
		if r.Action == Deny && exact && !slices.Contains(names, r.Name) {
			names = append(names, r.Name)
		}
	}
	return names
}
