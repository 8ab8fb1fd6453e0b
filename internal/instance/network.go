package instance

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"

	"banger/internal/agent/hostconfig"
	"banger/internal/config"
	"banger/internal/image"
	"banger/internal/network/mirrors"
	"banger/internal/network/policy"
	"banger/internal/supervisor"
	"banger/internal/vm"
)

// networkOf is a VM's network as its supervisor is told: what was asked for the VM, then
// what the configuration says. It is nil for a VM without one.
func networkOf(n vm.Network, c config.Network) (*supervisor.Network, error) {
	if mode := cmp.Or(n.Mode, c.Net, vm.NetUser); mode == vm.NetNone {
		return nil, vm.Network{Mode: mode, Publish: n.Publish, AutoForward: n.AutoForward}.Check()
	}
	out := &supervisor.Network{Publish: n.Publish, AutoForward: n.AutoForward}
	var err error
	if out.Policy.Profile, err = policy.ParseProfile(cmp.Or(n.Egress, c.Egress)); err != nil {
		return nil, err
	}
	out.Policy.ProxyResolves = c.ProxyResolves
	for _, set := range []struct {
		field  string
		action policy.Action
		rules  []string
		source policy.Source
	}{
		{"deny", policy.Deny, n.Deny, policy.FromFlag},
		{"allow", policy.Allow, n.Allow, policy.FromFlag},
		{"deny", policy.Deny, c.Deny, policy.FromConfig},
		{"allow", policy.Allow, c.Allow, policy.FromConfig},
	} {
		for _, text := range set.rules {
			r, err := policy.Parse(set.action, text, policy.Origin{Source: set.source})
			if err != nil && set.source == policy.FromFlag {
				return nil, &vm.FieldError{Field: set.field, Err: err}
			}
			if err != nil {
				return nil, fmt.Errorf("%s: key %q: %w", config.File, "network."+set.field, err)
			}
			out.Policy.Rules = append(out.Policy.Rules, r)
		}
	}
	return out, out.Policy.Check()
}

// networkOf is the VM's network if it starts now, from an image with those archives.
func (i *Instance) networkOf(n vm.Network, archives []string) (out *supervisor.Network, err error) {
	c, err := i.set.cfg.Network()
	if err != nil {
		return nil, err
	}
	if out, err = networkOf(n, c); out == nil || err != nil {
		return nil, err
	}
	env, err := i.environment()
	if err != nil {
		return nil, err
	}
	var notes []string
	out.Policy.Rules = append(out.Policy.Rules, imageRules(archives)...)
	home, _ := os.UserHomeDir() // without one, the system's files count
	host := mirrors.Host{Home: home, Env: env, Own: ownAddresses()}
	var into hostconfig.Config
	if c.Mirrors == nil || *c.Mirrors {
		found := mirrors.Read(host)
		notes = append(notes, found.Notes...)
		out.Unknown = found.Unknown
		for _, r := range found.Rules() {
			rule, err := policy.Parse(policy.Allow, net.JoinHostPort(r.Host, strconv.Itoa(int(r.Port))), policy.Origin{Source: policy.FromMirrors, File: r.Origin})
			if err != nil {
				notes = append(notes, fmt.Sprintf("%s: %v", r.Origin, err))
				continue
			}
			out.Policy.Rules = append(out.Policy.Rules, rule)
		}
		var more []string
		into, more = found.Guest(mirrors.Distribution{})
		notes = append(notes, more...)
	}
	if c.TrustHostCA == nil || *c.TrustHostCA {
		var more []string
		into.Certificates, more = mirrors.HostCAs(host)
		notes = append(notes, more...)
	}
	out.Proxies = proxiesOf(c, env)
	if note := proxyNote(out.Proxies); note != "" {
		notes = append(notes, note)
	}
	var note string
	if out.Host, note, err = hostConfig(into); err != nil {
		return nil, err
	}
	if note != "" {
		notes = append(notes, note)
	}
	out.Notes = notes
	return out, out.Policy.Check()
}

// ownAddresses are those of this machine's interfaces.
func ownAddresses() (out []netip.Addr) {
	all, _ := net.InterfaceAddrs() // of those that it can't list, the policy closes all the same
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, ip.Unmap())
			}
		}
	}
	return out
}

// maxHostConfig bounds what a guest gets of the host's configuration, in bytes: with it its
// identity stays below control.MaxBody.
const maxHostConfig = 512 << 10

// hostConfig is what the guest is told of the host's configuration: nothing if that is too large,
// because a guest without it is of use. note says so.
func hostConfig(c hostconfig.Config) (text json.RawMessage, note string, err error) {
	text, err = json.Marshal(c)
	if err == nil && len(text) > maxHostConfig {
		return nil, fmt.Sprintf("nothing of this machine's configuration goes into the guest: %d certificates and %d files are %d KiB, and %d KiB may go",
			len(c.Certificates), len(c.Files), len(text)>>10, maxHostConfig>>10), nil
	}
	return text, "", err
}

// imageRules allow the archives of an image.
func imageRules(archives []string) (out []policy.Rule) {
	for _, a := range archives {
		u, err := url.Parse(a)
		if err != nil {
			continue
		}
		port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
		rule, err := policy.Parse(policy.Allow, net.JoinHostPort(u.Hostname(), port), policy.Origin{Source: policy.FromImage})
		if err == nil { // else an archive at an address that no rule opens
			out = append(out, rule)
		}
	}
	return out
}

// archives are those of the image that the VM was made from; nil if they are not known.
func (i *Instance) archives() []string {
	digest := i.View().Record.ImageDigest
	if digest == "" || digest == noBase {
		return nil
	}
	img, err := image.Kept(i.set.cfg.Dirs.Base(), digest)
	if err != nil {
		return nil
	}
	return img.Archives
}

// NetworkChange is what Set changes of a VM's network.
type NetworkChange struct {
	Egress      string   // "" stays
	Allow, Deny []string // rules that are added
	Forget      []string // rules that are taken away, as they were typed
}

// to is n with the change.
func (c *NetworkChange) to(n vm.Network) (vm.Network, error) {
	if c.Egress != "" {
		n.Egress = c.Egress
	}
	for _, rule := range c.Forget {
		if !slices.Contains(n.Allow, rule) && !slices.Contains(n.Deny, rule) {
			return n, &vm.FieldError{Field: "forget", Err: fmt.Errorf("the VM has no rule %q of its own", rule)}
		}
		other := func(s string) bool { return s == rule }
		n.Allow = slices.DeleteFunc(slices.Clone(n.Allow), other)
		n.Deny = slices.DeleteFunc(slices.Clone(n.Deny), other)
	}
	add := func(have []string, more []string) []string {
		have = slices.Clone(have)
		for _, m := range more {
			if !slices.Contains(have, m) {
				have = append(have, m)
			}
		}
		return have
	}
	n.Allow, n.Deny = add(n.Allow, c.Allow), add(n.Deny, c.Deny)
	return n, n.Check()
}

// tellNetwork gives the policy of a running VM to its supervisor.
func (i *Instance) tellNetwork(ctx context.Context, n vm.Network) error {
	net, err := i.networkOf(n, i.archives())
	if err != nil || net == nil {
		return err
	}
	return i.question(ctx, checkLimit, func(ctx context.Context, c *supervisor.Client) error { return c.SetPolicy(ctx, net.Policy) })
}
