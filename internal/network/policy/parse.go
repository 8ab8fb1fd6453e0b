package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"banger/internal/hint"
)

const maxPattern = 1024 // bytes of what is typed; a name in Unicode is longer than its A-labels

// Parse reads a rule as it is typed after --allow or --deny, or in the configuration:
// example.org, *.example.org, .example.org, an address, host, each with or without :PORT,
// or @group. The error says what is wrong with the pattern, its hint what to type.
func Parse(action Action, pattern string, from Origin) (Rule, error) {
	p, err := parsePattern(pattern)
	if err == nil {
		err = check(action, p)
	}
	if err != nil {
		return Rule{}, fmt.Errorf("%q: %w", pattern, err)
	}
	return Rule{action, p, from}, nil
}

func refuse(what, advice string, args ...any) error {
	return hint.Add(errors.New(what), fmt.Sprintf(advice, args...))
}

func parsePattern(s string) (Pattern, error) {
	if err := checkText(s); err != nil {
		return Pattern{}, err
	}
	if a, ok := literal(s); ok && !strings.HasPrefix(s, "[") {
		return addressPattern(a, 0)
	}
	name, port, err := cutPort(s)
	if err != nil {
		return Pattern{}, err
	}
	if a, ok := literal(name); ok {
		return addressPattern(a, port)
	}
	if group, ok := strings.CutPrefix(name, "@"); ok {
		return groupPattern(group, port)
	}
	return namePattern(name, port)
}

// checkText refuses what is not NAME[:PORT] at all.
func checkText(s string) error {
	switch {
	case s == "":
		return refuse("it is empty", "type a name as in example.org, .example.org or example.org:8443")
	case len(s) > maxPattern:
		return refuse(fmt.Sprintf("it is %d bytes long", len(s)), "a name has at most %d bytes", maxName)
	case !utf8.ValidString(s):
		return refuse("it is not text in UTF-8", "type a name as in example.org")
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return refuse("it has a control character", "type a name as in example.org")
	case strings.ContainsAny(s, " ,;"):
		return refuse("it is more than one name", "give the flag once for each name")
	case strings.Contains(s, "://"):
		return refuse("it is a URL", "type the host: %s", ofURL(s))
	case strings.Contains(s, "/"):
		head, _, _ := strings.Cut(s, "/")
		if _, err := netip.ParsePrefix(s); err == nil {
			return refuse("ranges of addresses are not taken", "give the flag once for each address, with its port: %s:443", bracketed(head))
		}
		return refuse("it has a path, and rules are about hosts", "type the host: %s", head)
	case strings.Contains(s[1:], "@"):
		_, host, _ := strings.Cut(s, "@")
		host, _, _ = strings.Cut(host, ":")
		return refuse("it has a user's name", "type the host, for ssh with its port: %s:22", host)
	case strings.Contains(s, "%"):
		return refuse("it has a zone, and addresses of one link are closed", "type an address without %%")
	}
	return nil
}

func ofURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		_, rest, _ := strings.Cut(s, "://")
		rest, _, _ = strings.Cut(rest, "/")
		return rest
	}
	switch {
	case u.Port() != "" || u.Scheme == "https" || u.Scheme == "http":
		return u.Host
	case u.Scheme == "ssh" || u.Scheme == "git+ssh":
		return u.Host + ":22"
	}
	return u.Host + ":PORT"
}

func bracketed(s string) string {
	if strings.Contains(s, ":") {
		return "[" + s + "]"
	}
	return s
}

// cutPort takes :PORT off.
func cutPort(s string) (name string, port uint16, err error) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.HasSuffix(s, "]") {
		return s, 0, nil
	}
	name, text := s[:i], s[i+1:]
	if strings.Contains(name, ":") && !strings.HasPrefix(name, "[") {
		return "", 0, refuse("it is no address and has more than one colon", "type an IPv6 address in brackets: [2001:db8::1]:443")
	}
	if strings.Trim(text, "0123456789") == "" {
		if n, err := strconv.ParseUint(text, 10, 16); err == nil && n > 0 && text[0] != '0' {
			return name, uint16(n), nil
		}
	}
	if name == "" {
		name = "example.org"
	}
	return "", 0, refuse(fmt.Sprintf("%q is no port", text), "a port is a number from 1 to 65535: %s:443", name)
}

func addressPattern(a netip.Addr, port uint16) (Pattern, error) {
	if a.Zone() != "" {
		return Pattern{}, refuse("it has a zone, and addresses of one link are closed", "type an address without %%")
	}
	return Pattern{Kind: Address, Addr: a.Unmap(), Port: port}, nil
}

func groupPattern(name string, port uint16) (Pattern, error) {
	name = strings.ToLower(name)
	if port != 0 {
		return Pattern{}, refuse("a group has ports of its own", "type @%s", name)
	}
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return Pattern{}, refuse("it is no name of a group", "type a group as in @node")
	}
	return Pattern{Kind: Group, Name: name}, nil
}

func namePattern(s string, port uint16) (Pattern, error) {
	if strings.EqualFold(s, "host") {
		return Pattern{Kind: Host, Port: port}, nil
	}
	kind, name := Exact, s
	if rest, ok := strings.CutPrefix(s, "*."); ok {
		kind, name = Below, rest
	} else if rest, ok := strings.CutPrefix(s, "."); ok {
		kind, name = Both, rest
	}
	if strings.Trim(s, "*.") == "" && strings.Contains(s, "*") {
		return Pattern{}, refuse("it means every name", "type --egress public for every public address, --egress deny for none")
	}
	if strings.Contains(name, "*") {
		rest := name[strings.LastIndexByte(name, '*')+1:]
		rest = rest[strings.IndexByte(rest, '.')+1:]
		return Pattern{}, refuse("a star stands only for all that is below a name", "type *.%s or .%s", rest, rest)
	}
	name, err := toASCII(name)
	if err == nil {
		name, err = canonical(name)
	}
	switch {
	case errors.Is(err, errIsAddress):
		return Pattern{}, refuse("it ends in a number, and is no address", "type four decimal numbers, as in 192.0.2.1, or a name")
	case err != nil:
		return Pattern{}, refuse("it is no name: "+err.Error(), "type a name as in example.org")
	case isHostName(name) && kind == Exact:
		return Pattern{Kind: Host, Port: port}, nil
	}
	return Pattern{Kind: kind, Name: name, Port: port}, nil
}

// check refuses rules that can be read, but could never do what they say.
func check(action Action, p Pattern) error {
	switch p.Kind {
	case Group:
		if _, ok := groups()[p.Name]; !ok {
			return refuse("no group is called that", "the groups are %s", groupNames())
		}
	case Host:
		if action == Allow && p.Port == 0 {
			return refuse("it opens the host's loopback, of which each port is named", "type host:PORT, as in host:3000")
		}
	case Address:
		c, closed := classify(p.Addr)
		switch {
		case action == Deny || !closed:
		case c.Class == Loopback:
			return refuse("loopback is the guest's own", "for a port of the host's loopback type --allow host:PORT")
		case c.Never:
			return refuse(c.Reason+", and nothing opens it", "banger vm network show NAME lists what is open")
		case p.Port == 0:
			p.Port = 443
			return refuse(c.Reason+", which is opened only with its port", "type %s", p)
		}
	default:
		local := p.Name == "localhost" || below(p.Name, "localhost")
		if action == Allow && local {
			return refuse("localhost is the guest's own", "for a port of the host's loopback type --allow host:PORT")
		}
		if action == Allow && p.Kind == Exact && isVMName(p.Name) && p.Port == 0 {
			return refuse("it is another VM's name, of which each port is named", "type %s:PORT", p.Name)
		}
	}
	return nil
}

func groupNames() string {
	return "@" + strings.Join(loadGroups().order, " @")
}
