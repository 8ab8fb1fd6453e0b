package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/net/http/httpproxy"
)

// Proxies are the upstream proxies of the host, by the rules of net/http. A value
// is not changed. It holds credentials, and prints without.
type Proxies struct {
	choose      func(*url.URL) (*url.URL, error)
	web, secure *Proxy // for port 80, and for all others; nil is none
	except      string // NO_PROXY
}

// NewProxies reads the values of HTTP_PROXY, HTTPS_PROXY and NO_PROXY; "" is no
// proxy. One that can't be used is an error, without its credentials.
func NewProxies(httpProxy, httpsProxy, noProxy string) (*Proxies, error) {
	config := httpproxy.Config{HTTPProxy: httpProxy, HTTPSProxy: httpsProxy, NoProxy: noProxy}
	p := &Proxies{choose: config.ProxyFunc(), except: noProxy}
	for _, v := range []struct {
		text string
		to   **Proxy
	}{{httpProxy, &p.web}, {httpsProxy, &p.secure}} {
		if v.text == "" {
			continue
		}
		proxy, err := ParseProxy(v.text)
		if err != nil {
			return nil, err
		}
		*v.to = proxy
	}
	return p, nil
}

// For returns the proxy that name is asked of, or nil for none. Port 80 is asked
// of HTTP_PROXY's, all others of HTTPS_PROXY's.
func (p *Proxies) For(name string, port uint16) *Proxy {
	if p == nil {
		return nil
	}
	to, proxy := url.URL{Scheme: "https", Host: net.JoinHostPort(name, strconv.Itoa(int(port)))}, p.secure
	if port == 80 {
		to.Scheme, proxy = "http", p.web
	}
	if proxy == nil {
		return nil
	}
	if u, err := p.choose(&to); err != nil || u == nil {
		return nil
	}
	return proxy
}

// String, like GoString, leaves credentials out.
func (p Proxies) String() string {
	text := func(p *Proxy) string {
		if p == nil {
			return "no proxy"
		}
		return p.String()
	}
	return fmt.Sprintf("%s for port 80, %s for others, none for %q", text(p.web), text(p.secure), p.except)
}

// GoString is String: %#v must not show credentials either.
func (p Proxies) GoString() string { return p.String() }

// Proxy is one upstream proxy. A value is not changed. It holds credentials, and
// prints without, in every way that fmt, slog and encoding/json have.
type Proxy struct {
	scheme, host   string // the host is a name or an address
	port           uint16
	user, password string
	auth           bool
}

// ports are the schemes, with their ports.
var ports = map[string]uint16{"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}

// ParseProxy reads a proxy's URL: http, https, socks5 or socks5h, the first where
// none is said. A name is always resolved by the proxy, with socks5 too. The
// error never has the URL in it: it may have a password.
func ParseProxy(text string) (*Proxy, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, &Error{Other, errors.New("read the proxy: this is not a URL (it is not shown, for it may have a password)")}
	}
	p := &Proxy{scheme: strings.ToLower(u.Scheme), host: u.Hostname()}
	if p.port = ports[p.scheme]; p.port == 0 {
		return nil, &Error{Other, fmt.Errorf("read the proxy: the scheme %q is not http, https, socks5 or socks5h", u.Scheme)}
	}
	if p.host == "" || strings.ContainsAny(p.host, "\x00\r\n ") {
		return nil, &Error{Other, errors.New("read the proxy: it has no host")}
	}
	if u.Port() != "" {
		n, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil || n == 0 {
			return nil, &Error{Other, fmt.Errorf("read the proxy: %q is not a port", u.Port())}
		}
		p.port = uint16(n)
	}
	if u.User != nil {
		p.user, p.auth = u.User.Username(), true
		p.password, _ = u.User.Password()
	}
	return p, nil
}

// String is the proxy's URL without credentials.
func (p Proxy) String() string {
	return p.scheme + "://" + net.JoinHostPort(p.host, strconv.Itoa(int(p.port)))
}

// GoString is String: %#v must not show credentials either.
func (p Proxy) GoString() string { return p.String() }

// MarshalText is String, for slog and JSON.
func (p Proxy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Through connects to name by asking proxy, which is not nil, for it. A literal is
// denied, in every spelling: only names are asked of a proxy. Names have ASCII letters
// only (A-labels). What the proxy says is bounded, and quoted in the error; its
// credentials are in no error.
//
// An HTTP proxy is asked by CONNECT. One that makes no tunnel to port 80 is asked for each request
// that is written to the connection, whose end the proxy is then: judge, which is not nil, says for
// which.
func (d *Dialer) Through(ctx context.Context, proxy *Proxy, name string, port uint16, judge *Web) (Conn, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	name = canonical(name)
	if err := checkTarget(name, port); err != nil {
		return nil, &Error{Denied, fmt.Errorf("ask the proxy for %q: %w", name, err)}
	}
	target := net.JoinHostPort(name, strconv.Itoa(int(port)))
	var c Conn
	var err error
	if strings.HasPrefix(proxy.scheme, "socks5") {
		c, err = d.socks(ctx, proxy, target)
	} else {
		c, err = d.tunnel(ctx, proxy, target)
		var answer status
		if port == webPort && errors.As(err, &answer) && answer.noTunnel() {
			c, err = d.web(ctx, proxy, name, judge)
		}
	}
	if err != nil {
		var e *Error
		if !errors.As(err, &e) {
			e = &Error{ProxyFailed, err}
			if errors.Is(ctx.Err(), context.Canceled) {
				e.Reason = Cancelled
			}
		}
		return nil, &Error{e.Reason, fmt.Errorf("ask the proxy %s for %q: %w", proxy, target, err)}
	}
	return c, nil
}

// canonical is a host's name as it is compared.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// checkTarget refuses what is no name of a host, and every spelling of an IPv4
// address that inet_aton(3) reads, as some proxies do: decimal, octal, hex, short.
func checkTarget(name string, port uint16) error {
	if port == 0 {
		return errors.New("0 is no port")
	}
	if name == "" || len(name) > 253 {
		return errors.New("a name has 1 to 253 bytes")
	}
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return errors.New("a label has 1 to 63 bytes")
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return errors.New("a name has letters, digits and hyphens only")
			}
		}
		last = label
	}
	// No zone of the root is a number (RFC 3696, 2; the URL standard's "ends in a number").
	if strings.HasPrefix(last, "0x") || strings.Trim(last, "0123456789") == "" {
		return errors.New("an address is not asked of a proxy")
	}
	return nil
}

// reach connects to the proxy itself, which may be anywhere: the user named it.
func (d *Dialer) reach(ctx context.Context, proxy *Proxy) (Conn, error) {
	addrs, err := d.lookup(ctx, proxy.host)
	if err != nil {
		return nil, &Error{ProxyFailed, fmt.Errorf("find the proxy: %w", err)}
	}
	c, err := race(ctx, proxy.host, proxy.port, addrs)
	if err != nil {
		reason := ProxyFailed
		if ReasonOf(err) == Cancelled {
			reason = Cancelled
		}
		return nil, &Error{reason, err}
	}
	if proxy.scheme != "https" {
		return c, nil
	}
	secure := tls.Client(c, &tls.Config{ServerName: proxy.host, RootCAs: d.Roots, NextProtos: []string{"http/1.1"}})
	if err := secure.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("speak TLS with the proxy: %w", err)
	}
	return &secured{Conn: secure}, nil
}

// secured is a connection to a proxy by TLS. With a linger of 0 its Close sends a reset, and
// not TLS's orderly end before it.
type secured struct {
	*tls.Conn
	cut atomic.Bool
}

func (s *secured) SetLinger(sec int) error {
	s.cut.Store(sec == 0)
	return linger(s.NetConn(), sec)
}

func (s *secured) Close() error {
	if s.cut.Load() {
		return s.NetConn().Close()
	}
	return s.Conn.Close()
}

func (d *Dialer) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	if d.Lookup != nil {
		return d.Lookup(ctx, host)
	}
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}
