package dial

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"unicode"
)

// recorded is a connection whose peer says what was recorded.
type recorded struct {
	net.Conn
	said *bytes.Reader
}

func (r recorded) Read(b []byte) (int, error)  { return r.said.Read(b) }
func (r recorded) Write(b []byte) (int, error) { return len(b), nil }

// FuzzConnect gives a proxy's bytes to CONNECT: what is left behind an answer is
// the end of them, and an error is short and shows no credentials.
func FuzzConnect(f *testing.F) {
	for _, s := range []string{"HTTP/1.1 200 OK\r\n\r\nhello", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 407 No\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "SSH-2.0-x\r\n", "HTTP/1.1 200 OK\r\n\x1b[31m\r\n\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		p := &Proxy{scheme: "http", host: "proxy.example.org", port: 80, auth: true, user: "user", password: secret}
		left, err := p.connect(recorded{said: bytes.NewReader(said)}, "example.org:443")
		if err == nil && !bytes.Contains(said, left) {
			t.Errorf("%q is left, which the proxy did not say", left)
		}
		if err != nil && (len(err.Error()) > 400 || strings.ContainsFunc(err.Error(), unicode.IsControl) || strings.Contains(err.Error(), secret) && !bytes.Contains(said, []byte(secret))) {
			t.Errorf("the error is %q", err)
		}
	})
}

// FuzzNames gives any text to the readers of names and of proxies' URLs.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"example.org", "127.1", "0x7f.1", "http://u:p@proxy.example.org:3128", "socks5://[::1%25lo]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if checkTarget(text, 443) == nil && (net.ParseIP(text) != nil || strings.ContainsAny(text, "\r\n\x00 :/@[]%")) {
			t.Errorf("checkTarget lets %q pass", text)
		}
		if p, err := ParseProxy(text); err == nil && (p.host == "" || p.port == 0 || strings.ContainsAny(p.String(), "\r\n")) {
			t.Errorf("ParseProxy(%q) = %v", text, p)
		}
	})
}
