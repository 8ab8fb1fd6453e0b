package mirrors

import (
	"fmt"
	"maps"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Host is the host whose configuration is read.
type Host struct {
	// Root is the directory that all paths are looked up in; "" is "/".
	Root string
	// Home is the user's home directory, an absolute path in Root; "" is none.
	Home string
	// Env are the variables of the user's command, as of os.Environ.
	Env []string
	// Own are the addresses of the host's interfaces: no guest reaches them.
	Own []netip.Addr
}

// Setting is a named key of a client's configuration that names a host, or that goes
// into the guest.
type Setting struct {
	Client string // "apt", "npm", "yarn", "pnpm", "pip", "uv", "go", "cargo" or "maven"
	Key    string // as the client spells it
	// URL is without user info, query and fragment; "" if the value is none.
	URL string
	// Value is what is no URL, as a list of patterns; "" if the value is a URL.
	Value string
	Host  string // a name in lower case, or an address without brackets; "" if Value
	Port  uint16 // the scheme's default if the URL has none
	// Origin is the file, as a path, or the variable, as $NAME.
	Origin string
	// Default reports whether the client itself comes with it.
	Default bool
	// Withheld says why it does not go into a guest; "" if it does.
	Withheld string

	// name and of are what else a guest's file needs: of cargo the name of the source, and its
	// kind; of Maven the id, and what it mirrors, or the hosts without a proxy; of GOPROXY the separator
	// behind it; of GOSUMDB name and key, and the URL if there is one.
	name, of string
	profile  string   // Maven: the profile that it is in
	suites   []string // apt: of the distribution's own sources
}

// Found is what a host's configuration holds. It is not changed after Read.
type Found struct {
	Settings []Setting
	// Unknown are the clients whose default host is in no file.
	Unknown []string
	// Notes are lines for the user: what was not read, and what was left out. They hold
	// no value of a key.
	Notes []string
	// Distribution is the host's.
	Distribution Distribution
}

// Rule is a host that a client is configured with, for the policy.
type Rule struct {
	Host   string // a name in lower case, or an address without brackets
	Port   uint16
	Origin string // for the user, as "npm's registry in /etc/npmrc"
}

// maxSettings bounds what a configuration may have. A guest's file of them all stays below
// what a guest takes (1 MiB).
const maxSettings = 500

// Read reads the configuration of h. What can't be read becomes a note; there is no
// error. It takes some milliseconds, and calls at once don't disturb each other.
func Read(h Host) *Found {
	f := &Found{}
	r, err := newReader(h, f)
	if err != nil {
		f.Notes = append(f.Notes, fmt.Sprintf("no configuration is read: %v", err))
		return f
	}
	defer unix.Close(r.root)
	f.Distribution = r.distribution()
	for _, client := range []func() []Setting{r.apt, r.npm, r.yarn, r.pnpm, r.pip, r.uv, r.golang, r.cargo, r.maven} {
		f.Settings = append(f.Settings, client()...)
	}
	r.gradle()
	if len(f.Settings) > maxSettings {
		r.note("only the first %d of %d settings count", maxSettings, len(f.Settings))
		f.Settings = f.Settings[:maxSettings]
	}
	f.Unknown = unknown(f.Settings)
	return f
}

func newReader(h Host, f *Found) (*reader, error) {
	root := h.Root
	if root == "" {
		root = "/"
	}
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", root, err)
	}
	r := &reader{root: fd, env: map[string]string{}, mine: h.Own, found: f}
	for _, kv := range h.Env {
		if key, value, ok := strings.Cut(kv, "="); ok {
			r.env[key] = value
		}
	}
	if path.IsAbs(h.Home) {
		// A home directory may be behind a link (/home is one on some systems).
		home, err := unix.Openat2(fd, strings.TrimPrefix(path.Clean(h.Home)+"/.", "/"), &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
		if err == nil {
			r.home, _ = r.where(home)
			unix.Close(home)
		}
	}
	return r, nil
}

// Rules returns the hosts of f, each with its port once, and with the first origin.
func (f *Found) Rules() (out []Rule) {
	type key struct {
		host string
		port uint16
	}
	seen := map[key]bool{}
	for _, s := range f.Settings {
		k := key{s.Host, s.Port}
		if s.Host == "" || seen[k] {
			continue
		}
		seen[k] = true
		out = append(out, Rule{Host: s.Host, Port: s.Port, Origin: fmt.Sprintf("%s's %s in %s", s.Client, s.Key, shown(s.Origin))})
	}
	return out
}

// defaults are the keys that replace the default host of a client.
var defaults = map[string][]string{
	"npm": {"registry"}, "pip": {"index-url"}, "uv": {"default-index"}, "go": {"GOPROXY"}, "cargo": {"source.crates-io"}, "maven": {"mirror"},
}

// unknown are the clients whose default is not replaced, and which name it in no file.
func unknown(settings []Setting) (out []string) {
	for _, client := range []string{"npm", "pip", "uv", "go", "cargo", "maven"} {
		replaced := slices.ContainsFunc(settings, func(s Setting) bool {
			return s.Client == client && slices.Contains(defaults[client], s.Key) &&
				(client != "maven" || mirrorsCentral(s.of))
		})
		if !replaced {
			out = append(out, client)
		}
	}
	return out
}

// pair is a key and its value, as a file has them.
type pair struct{ key, value string }

// key is how a named key of a client's is read.
type key struct {
	scheme string // of a value without one
	list   string // the characters between the URLs of a value; "" if it is one URL
	plain  *regexp.Regexp
}

// settings makes settings of pairs whose keys are in keys. A value that can't be used
// is a note, which names key and origin only.
func (r *reader) settings(client, origin string, pairs []pair, keys map[string]key) (out []Setting) {
	for _, p := range pairs {
		k, ok := keys[p.key]
		if !ok {
			continue
		}
		if k.plain != nil {
			if v := strings.TrimSpace(p.value); v != "" && k.plain.MatchString(v) && len(v) <= 2048 {
				out = append(out, Setting{Client: client, Key: p.key, Value: v, Origin: origin})
			} else if v != "" {
				r.note("%s's %s in %s is left out: it has characters that banger does not hand on", client, p.key, shown(origin))
			}
			continue
		}
		values := []string{p.value}
		if k.list != "" {
			values = strings.FieldsFunc(p.value, func(c rune) bool { return strings.ContainsRune(k.list, c) })
		}
		for _, v := range values {
			if s, ok := r.setting(client, p.key, v, k.scheme, origin); ok {
				out = append(out, s)
			}
		}
	}
	return out
}

// setting makes a setting of a URL.
func (r *reader) setting(client, key, value, scheme, origin string) (Setting, bool) {
	a, err := parseAddress(value, scheme)
	if addr, _ := netip.ParseAddr(a.host); err == nil && slices.Contains(r.mine, addr) {
		err = errMine
	}
	switch {
	case err == errLocal:
		return Setting{}, false
	case err == errOwn, err == errMine:
		r.note("%s's %s in %s is left out: %v; --allow host:PORT opens a port of this host's loopback, as host.banger.internal", client, key, shown(origin), err)
		return Setting{}, false
	case err != nil:
		r.note("%s's %s in %s is left out: %v", client, key, shown(origin), err)
		return Setting{}, false
	}
	switch {
	case a.hold != "":
		r.note("%s's %s in %s does not go into the guest: %s", client, key, shown(origin), a.hold)
	case a.lost != "":
		r.note("%s's %s in %s goes into the guest without %s", client, key, shown(origin), a.lost)
	}
	return Setting{Client: client, Key: key, URL: a.url, Host: a.host, Port: a.port, Origin: origin, Withheld: a.hold}, true
}

// shown is an origin as notes show it: a path may have any bytes.
func shown(origin string) string { return strings.Trim(fmt.Sprintf("%q", origin), `"`) }

// over returns the settings of both; a key of high replaces that of low.
func over(low, high []Setting) []Setting {
	kept := slices.DeleteFunc(slices.Clone(low), func(s Setting) bool {
		return slices.ContainsFunc(high, func(h Setting) bool { return h.Client == s.Client && h.Key == s.Key })
	})
	return append(kept, high...)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Expressions of values that are no URLs.
var (
	hostList = regexp.MustCompile(`^[A-Za-z0-9.,:*/_ \t\n\[\]-]*$`)
	patterns = regexp.MustCompile(`^[A-Za-z0-9.,*/_~?\[\]-]*$`)
	yesNo    = regexp.MustCompile(`^(?i)(true|false|yes|no|on|off|0|1)$`)
	named    = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)
)
