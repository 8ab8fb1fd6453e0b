package mirrors

import (
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// address is what a URL of a client's names.
type address struct {
	url  string // without user info, query and fragment
	host string // a name in lower case, or an address without brackets
	port uint16
	lost string // what the URL had and was taken out; "" if nothing
	hold string // why the URL is not for a guest; "" if it is
}

// maxURL bounds a URL, in bytes.
const maxURL = 1000

// errLocal is a URL that names no host.
var errLocal = errors.New("it names no host")

// Errors of URLs never hold the URL, because it may hold a password.
var (
	errURL      = errors.New("it is no URL that banger reads")
	errVariable = errors.New("it has a variable in it, which banger does not expand")
	errHost     = errors.New("its host is neither a name nor an address")
	errMine     = errors.New("it is an address of this machine's own, and those are closed to guests")
	errOwn      = errors.New("it is an address that means another machine in a guest (loopback or link-local)")
)

// ports are the schemes and their default ports.
var ports = map[string]uint16{
	"http": 80, "https": 443, "ssh": 22, "git": 9418, "socks": 1080, "socks4": 1080, "socks5": 1080, "socks5h": 1080,
}

// local are the schemes of files.
var local = regexp.MustCompile(`^(?i)(file|cdrom|copy|rsh|store|mirror\+file|mirror\+copy):`)

// safeURL are the characters that mean nothing special in any file that a URL is
// written to for the guest.
var safeURL = regexp.MustCompile(`^[A-Za-z0-9:/._~%@+,=&()!*\[\]-]+$`)

// parseAddress reads a URL. With scheme, that is the one of a text without a scheme,
// as proxies are often written.
func parseAddress(text, scheme string) (address, error) {
	var a address
	text = strings.TrimSpace(text)
	switch {
	case text == "" || text[0] == '/' || text[0] == '.' || text[0] == '~' || local.MatchString(text):
		return a, errLocal
	case len(text) > maxURL:
		return a, errURL
	case strings.ContainsAny(text, "$`") || strings.Contains(text, "%(") || strings.Contains(text, "{"):
		return a, errVariable
	}
	if scheme != "" && !strings.Contains(text, "://") {
		text = scheme + "://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || u.Hostname() == "" {
		return a, errURL
	}
	// A password with a slash or a number sign that was not escaped ends the host for
	// the parser: what looks like host and port then is the user's name and password.
	rest := u.EscapedPath() + "?" + u.RawQuery + "#" + u.EscapedFragment()
	if strings.Contains(strings.ReplaceAll(rest, "/@", "/"), "@") {
		return a, errURL
	}
	base := u.Scheme[strings.LastIndexByte(u.Scheme, '+')+1:]
	a.port = ports[base]
	if a.port == 0 {
		return a, errURL
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return a, errURL
		}
		a.port = uint16(n)
	}
	if a.host, err = parseHost(u.Hostname()); err != nil {
		return a, err
	}
	if u.User != nil {
		a.lost = "user info"
	} else if u.RawQuery != "" || u.Fragment != "" {
		a.lost = "a query"
	}
	u.User, u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = nil, "", false, "", ""
	a.url = u.String()
	switch {
	case !safeURL.MatchString(a.url):
		a.hold = "its URL has characters that some clients give a meaning"
	case hasToken(u.Path):
		a.hold = "its path has what looks like a token"
	case base != "http" && base != "https" && !strings.HasPrefix(base, "socks"):
		a.hold = "it takes a key"
	}
	return a, nil
}

var (
	label   = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$`)
	numeric = regexp.MustCompile(`^([0-9]+|0x[0-9a-f]*)$`)
	// ownNames are names of the machine that asks.
	ownNames = regexp.MustCompile(`^(localhost|.*\.localhost|localhost\.localdomain|ip6-localhost|ip6-loopback|host\.(docker|banger)\.internal)$`)
)

// parseHost reads a name or an address. A spelling of an address that only some
// resolvers know (127.1, 0x7f000001) is an error.
func parseHost(text string) (string, error) {
	host := strings.ToLower(strings.TrimSuffix(text, "."))
	if ip, err := netip.ParseAddr(host); err == nil {
		ip = ip.Unmap()
		switch {
		case ip.Zone() != "" || ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast():
			return "", errOwn
		}
		return ip.String(), nil
	}
	if ownNames.MatchString(host) {
		return "", errOwn
	}
	labels := strings.Split(host, ".")
	if len(host) > 253 || numeric.MatchString(labels[len(labels)-1]) {
		return "", errHost
	}
	for _, l := range labels {
		if !label.MatchString(l) {
			return "", errHost
		}
	}
	return host, nil
}

// uuid is a part of a path that is a UUID (RFC 9562, 4).
var uuid = regexp.MustCompile(`(?i)(^|/)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(/|$)`)

// hasToken reports whether a path holds what looks like a random token: a UUID, or 16 or more
// letters and digits in a row that are mixed as words and dates are not. Some services hand out
// indexes whose secret is in the path.
func hasToken(path string) bool {
	if uuid.MatchString(path) {
		return true
	}
	var run mixture
	for _, c := range path + "/" {
		if !run.add(c) {
			if run.random() {
				return true
			}
			run = mixture{}
		}
	}
	return false
}

// mixture is what a row of letters and digits is made of.
type mixture struct {
	letters, digits int
	turns           int // between lower case, upper case and digits
	last            rune
}

// add takes one more; it reports false for what is neither.
func (m *mixture) add(c rune) bool {
	switch {
	case c >= '0' && c <= '9':
		m.digits++
		c = '0'
	case c >= 'a' && c <= 'z':
		m.letters++
		c = 'a'
	case c >= 'A' && c <= 'Z':
		m.letters++
		c = 'A'
	default:
		return false
	}
	if m.last != 0 && m.last != c {
		m.turns++
	}
	m.last = c
	return true
}

// random reports whether it is none of words and dates: those have few digits, or few letters,
// and few turns. Of random rows of 16 letters and digits 97 in 100 are found.
func (m mixture) random() bool {
	n := m.letters + m.digits
	return n >= 16 && (m.letters >= 4 && m.digits >= 4 || 3*m.turns > n)
}
