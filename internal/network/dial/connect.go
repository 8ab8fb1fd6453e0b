package dial

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"golang.org/x/net/proxy"
)

// maxHeader bounds a proxy's answer to CONNECT, in bytes.
const maxHeader = 64 << 10

// interrupt makes c's reads and writes fail once ctx ends. restore takes that back
// and reports whether c can be used.
func interrupt(ctx context.Context, c net.Conn) (restore func() bool) {
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	return func() bool { return stop() && c.SetDeadline(time.Time{}) == nil }
}

// tunnel asks an HTTP proxy by CONNECT (RFC 9110, 9.3.6).
func (d *Dialer) tunnel(ctx context.Context, p *Proxy, target string) (Conn, error) {
	c, err := d.reach(ctx, p)
	if err != nil {
		return nil, err
	}
	restore := interrupt(ctx, c)
	left, err := p.connect(c, target)
	if !restore() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("the proxy does not answer: %w", ctx.Err())
		}
		return nil, err
	}
	if len(left) > 0 { // the peer spoke first, and its words came with the answer
		return &ahead{c, bytes.NewReader(left)}, nil
	}
	return c, nil
}

// connect sends the request and reads the answer. It returns what came behind it.
func (p *Proxy) connect(c net.Conn, target string) (left []byte, err error) {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: http.Header{"User-Agent": {"banger"}}}
	if p.auth {
		req.Header.Set("Proxy-Authorization", p.basic())
	}
	if err := req.Write(c); err != nil {
		return nil, fmt.Errorf("write the request: %w", cause(err))
	}
	limited := &io.LimitedReader{R: c, N: maxHeader}
	in := bufio.NewReader(limited)
	for range 8 { // interim answers come before the one that counts
		res, err := http.ReadResponse(in, req)
		switch {
		case err != nil && limited.N <= 0:
			return nil, fmt.Errorf("the proxy's answer has a header of more than %d KiB", maxHeader>>10)
		case err != nil:
			return nil, fmt.Errorf("read the proxy's answer: %w", said(err))
		case res.StatusCode >= 200 && res.StatusCode <= 299:
			left, _ := in.Peek(in.Buffered())
			return bytes.Clone(left), nil
		case res.StatusCode >= 200:
			return nil, answered(status(res.StatusCode))
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errors.New("the proxy speaks another protocol")
		}
	}
	return nil, errors.New("the proxy does not come to an answer")
}

// basic are the credentials as HTTP has them (RFC 7617).
func (p *Proxy) basic() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(p.user+":"+p.password))
}

// said bounds an error that may quote the proxy, and takes out what is not printed.
func said(err error) error {
	const most = 200
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the proxy closed the connection")
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	text := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, err.Error())
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return errors.New(text)
}

// status is a proxy's answer that makes no tunnel.
type status int

func (s status) Error() string {
	return fmt.Sprintf("it answers %d (%s)", int(s), http.StatusText(int(s)))
}

// noTunnel reports whether the proxy may take requests all the same: it did not try to connect,
// and wants no other credentials.
func (s status) noTunnel() bool {
	return s >= 400 && s <= 499 && s != http.StatusProxyAuthRequired || s == http.StatusNotImplemented
}

// answered is the error for a status that makes no tunnel.
func answered(err status) error {
	switch err {
	case http.StatusProxyAuthRequired:
		return &Error{ProxyRefused, fmt.Errorf("%w: it wants a user and a password, or others", err)}
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return &Error{NoRoute, err}
	case http.StatusGatewayTimeout:
		return &Error{TimedOut, err}
	}
	return &Error{ProxyRefused, err}
}

// ahead is a connection of which some bytes were read already.
type ahead struct {
	Conn
	left *bytes.Reader
}

// Read reads what was read ahead first.
func (a *ahead) Read(b []byte) (int, error) {
	if a.left.Len() > 0 {
		return a.left.Read(b)
	}
	return a.Conn.Read(b)
}

// SetLinger passes on how the connection is closed.
func (a *ahead) SetLinger(sec int) error { return linger(a.Conn, sec) }

func linger(c net.Conn, sec int) error {
	if l, ok := c.(interface{ SetLinger(int) error }); ok {
		return l.SetLinger(sec)
	}
	return nil
}

// reached hands the connection to the proxy to the SOCKS client.
type reached struct{ conn Conn }

func (r reached) Dial(string, string) (net.Conn, error) { return r.conn, nil }

// socks asks a SOCKS5 proxy (RFC 1928, 1929), by name.
func (d *Dialer) socks(ctx context.Context, p *Proxy, target string) (Conn, error) {
	if p.auth && (len(p.user) == 0 || len(p.user) > 255 || len(p.password) > 255) {
		return nil, errors.New("SOCKS5 wants a user of 1 to 255 bytes, and a password of at most 255")
	}
	c, err := d.reach(ctx, p)
	if err != nil {
		return nil, err
	}
	var auth *proxy.Auth
	if p.auth {
		auth = &proxy.Auth{User: p.user, Password: p.password}
	}
	restore := interrupt(ctx, c)
	client, err := proxy.SOCKS5("tcp", "proxy:1", auth, reached{c}) // its own address is used by reached only
	if err == nil {
		_, err = client.Dial("tcp", target) // c, once the proxy has made its connection
	}
	if !restore() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("the proxy does not answer: %w", ctx.Err())
		}
		return nil, socksError(said(cause(err)))
	}
	return c, nil
}

// socksError sorts a SOCKS server's answer (RFC 1928, 6), of which the library
// keeps the text only.
func socksError(err error) error {
	text := strings.TrimPrefix(err.Error(), "unknown error ")
	for _, row := range []struct {
		text   string
		reason Reason
	}{
		{"network unreachable", NoRoute}, {"host unreachable", NoRoute}, {"TTL expired", NoRoute}, {"connection refused", Refused},
		{"general SOCKS server failure", NoRoute}, {"connection not allowed by ruleset", ProxyRefused},
		{"username/password authentication failed", ProxyRefused}, {"no acceptable authentication methods", ProxyRefused},
	} {
		if text == row.text {
			return &Error{row.reason, fmt.Errorf("it answers: %s", text)}
		}
	}
	return err
}
