package dial

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
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

// sent is a connection that keeps what is written to it.
type sent struct {
	Conn
	bytes.Buffer
}

func (s *sent) Read(b []byte) (int, error)  { return s.Buffer.Read(b) }
func (s *sent) Write(b []byte) (int, error) { return s.Buffer.Write(b) }

// FuzzWeb gives a guest's bytes to a connection to a proxy that makes no tunnel: the proxy is asked
// for nothing but what was judged, in that order.
func FuzzWeb(f *testing.F) {
	for _, s := range []string{"GET /a HTTP/1.1\r\nHost: b.example\r\n\r\nGET http://c.example/ HTTP/1.0\n\n", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n3\r\nGET\r\n0\r\nA: b\r\n\r\n",
		"GET x:.evil.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a.example:80\r\nConnection: x, close\r\nContent-Length: 2\r\n\r\nhi\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		var judged []string
		c := &sent{}
		w := &web{Conn: c}
		err := w.pass(t.Context(), bytes.NewReader(said), &Proxy{scheme: "http"}, "www.example.org", &Web{
			May: func(_ context.Context, host string) error {
				if checkTarget(host, webPort) != nil {
					t.Errorf("%q is judged", host)
				}
				judged = append(judged, host)
				return nil
			},
			Failed: func(error) {},
		})
		whole := len(judged)
		if err != nil && whole > 0 {
			whole-- // the last may be cut off
		}
		in := bufio.NewReader(&c.Buffer)
		for n := 0; ; n++ {
			r, err := http.ReadRequest(in)
			if err != nil {
				if n < whole || c.Len() > 0 && n < len(judged) {
					t.Errorf("%q: %d requests of %d are passed on: %v", said, n, len(judged), err)
				}
				return
			}
			if n >= len(judged) || r.URL.Host != judged[n] || r.Host != judged[n] || r.URL.Scheme != "http" {
				t.Errorf("%q: the proxy is asked for %s, and judged were %q", said, r.URL, judged)
				return
			}
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				if n < whole {
					t.Errorf("%q: the body of request %d: %v", said, n, err)
				}
				return
			}
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
