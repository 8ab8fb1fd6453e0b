package dial

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// webProxy is an HTTP proxy that makes no tunnel: it answers each request itself, with what it was
// asked for.
type webProxy struct {
	mu    sync.Mutex
	asked []string
}

func (p *webProxy) serve(c net.Conn) {
	in := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if r.Method == http.MethodConnect {
			io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
			return
		}
		if r.Header.Get("Expect") != "" {
			io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		text := fmt.Sprintf("%s %s %s %s", r.Method, r.RequestURI, r.Proto, body)
		for _, name := range []string{"Proxy-Authorization", "Upgrade", "User-Agent", "X-Test"} {
			if v := r.Header.Get(name); v != "" {
				text += " " + name + "=" + v
			}
		}
		if v := r.Trailer.Get("X-Sum"); v != "" {
			text += " X-Sum=" + v
		}
		p.mu.Lock()
		p.asked = append(p.asked, text)
		p.mu.Unlock()
		fmt.Fprintf(c, "HTTP/1.%d 200 OK\r\nContent-Length: %d\r\n\r\n%s", r.ProtoMinor, len(text), text)
		if r.Close {
			return
		}
	}
}

// webbed connects to www.example.org by a proxy that makes no tunnel.
func webbed(t *testing.T, credentials string, judge *Web) (Conn, *webProxy) {
	t.Helper()
	p := &webProxy{}
	proxy, err := ParseProxy("http://" + credentials + listen(t, "127.0.0.1:0", p.serve).String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := (&Dialer{}).Through(t.Context(), proxy, "www.example.org", 80, judge)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, p
}

func anyHost(t *testing.T) *Web {
	return &Web{May: func(context.Context, string) error { return nil }, Failed: func(err error) { t.Errorf("it failed: %v", err) }}
}

// A real client's requests, one after another on one connection.
func TestWeb(t *testing.T) {
	c, p := webbed(t, "us%40er:"+secret+"@", anyHost(t))
	dials := 0
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		dials++
		return c, nil
	}, ExpectContinueTimeout: time.Minute}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport}
	const auth = " Proxy-Authorization=Basic dXNAZXI6cGE1NS13b3Jk"
	rows := []struct {
		what string
		make func() *http.Request
		want string
	}{
		{"GET", func() *http.Request {
			return request(t, "GET", "http://www.example.org/a?b=c%20d", nil)
		}, "GET http://www.example.org/a?b=c%20d HTTP/1.1 " + auth + " User-Agent=Go-http-client/1.1"},
		{"a name in capitals with a port, and no User-Agent", func() *http.Request {
			r := request(t, "GET", "http://www.example.org/", nil)
			r.Host = "Other.Example.ORG.:80"
			r.Header["User-Agent"] = nil
			return r
		}, "GET http://other.example.org/ HTTP/1.1 " + auth},
		{"a body of a length, for which the client waits", func() *http.Request {
			r := request(t, "POST", "http://www.example.org/", strings.NewReader("hello"))
			r.Header.Set("Expect", "100-continue")
			r.Header.Set("User-Agent", "x")
			return r
		}, "POST http://www.example.org/ HTTP/1.1 hello" + auth + " User-Agent=x"},
		{"a body in chunks, with a trailer", func() *http.Request {
			r := request(t, "PUT", "http://www.example.org/", io.MultiReader(strings.NewReader(strings.Repeat("x", 9000)), strings.NewReader("y")))
			r.Trailer = http.Header{"X-Sum": {"42"}}
			r.Header.Set("User-Agent", "x")
			return r
		}, "PUT http://www.example.org/ HTTP/1.1 " + strings.Repeat("x", 9000) + "y" + auth + " User-Agent=x X-Sum=42"},
		{"what is for the next hop alone", func() *http.Request {
			r := request(t, "GET", "http://www.example.org/", nil)
			r.Header.Set("User-Agent", "x")
			r.Header.Set("X-Test", "goes on")
			r.Header.Set("Connection", "Upgrade, HTTP2-Settings")
			r.Header.Set("Upgrade", "h2c")
			r.Header.Set("Proxy-Authorization", "Basic forged")
			return r
		}, "GET http://www.example.org/ HTTP/1.1 " + auth + " User-Agent=x X-Test=goes on"},
	}
	for _, row := range rows {
		res, err := client.Do(row.make())
		if err != nil {
			t.Fatalf("%s: %v", row.what, err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || string(body) != row.want {
			t.Errorf("%s: the proxy was asked %q, %v, want %q", row.what, body, err, row.want)
		}
	}
	if dials != 1 || len(p.asked) != len(rows) {
		t.Errorf("%d connections and %d requests, want 1 and %d", dials, len(p.asked), len(rows))
	}
}

func request(t *testing.T, method, url string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Bytes as clients send them, until their end.
func TestWebBytes(t *testing.T) {
	for _, row := range []struct {
		what, sent string
		want       []string // what the proxy is asked for
		failed     string
	}{
		{"an old client", "GET / HTTP/1.0\r\n\r\n", []string{"GET http://www.example.org/ HTTP/1.0 "}, ""},
		{"two at once, with empty lines between", "\r\nPOST /a HTTP/1.1\r\nHost: a.example.org\r\nContent-Length: 2\r\n\r\nhi\r\n\r\nGET /b HTTP/1.1\r\nHost: b.example.org\r\n\r\n",
			[]string{"POST http://a.example.org/a HTTP/1.1 hi", "GET http://b.example.org/b HTTP/1.1 "}, ""},
		{"a URL, which is what counts", "GET http://a.example.org/ HTTP/1.1\r\nHost: b.example.org\r\n\r\n", []string{"GET http://a.example.org/ HTTP/1.1 "}, ""},
		{"about the server", "OPTIONS * HTTP/1.1\r\nHost: a.example.org\r\n\r\n", []string{"OPTIONS http://a.example.org HTTP/1.1 "}, ""},
		{"nothing", "", nil, ""},
		{"another protocol", "SSH-2.0-OpenSSH_9\r\n", nil, "not HTTP/1"},
		{"TLS", "\x16\x03\x01\x00\xc8\x01\x00\x00", nil, "not HTTP/1"},
		{"a header that is cut off", "GET / HTTP/1.1\r\nHost: a", nil, "not HTTP/1"},
		{"a header without an end", "GET / HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", 20000), nil, "more than 64 KiB"},
		{"empty lines without an end", strings.Repeat("\r\n", 50000), nil, "more than 64 KiB"},
		{"a tunnel", "CONNECT a.example.org:443 HTTP/1.1\r\nHost: a.example.org:443\r\n\r\n", nil, "tunnel"},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", nil, "not HTTP/1"},
		{"HTTP/1.1 of another kind", "GET / HTTP/3.1\r\nHost: a.example.org\r\n\r\n", nil, "not HTTP/1"},
		{"what makes another host of the judged one", "GET x:.evil.example/ HTTP/1.1\r\nHost: a.example.org\r\n\r\n", nil, "neither a path"},
		{"the same by a scheme", "GET http:.evil.example/ HTTP/1.1\r\nHost: a.example.org\r\n\r\n", nil, "neither a path"},
		{"another scheme", "GET ftp://a.example.org/ HTTP/1.1\r\nHost: a.example.org\r\n\r\n", nil, "neither a path"},
		{"two slashes", "GET //evil.example/ HTTP/1.1\r\nHost: a.example.org\r\n\r\n", []string{"GET http://a.example.org//evil.example/ HTTP/1.1 "}, ""},
		{"a user before a path", "GET @evil.example/ HTTP/1.1\r\nHost: a.example.org\r\n\r\n", nil, "not HTTP/1"},
		{"a star that is not about the server", "GET * HTTP/1.1\r\nHost: a.example.org\r\n\r\n", nil, "neither a path"},
		{"two lengths", "POST / HTTP/1.1\r\nHost: a.example.org\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhi", nil, "not HTTP/1"},
		{"two Host lines", "GET / HTTP/1.1\r\nHost: a.example.org\r\nHost: b.example.org\r\n\r\n", nil, "not HTTP/1"},
		{"a length and chunks", "POST / HTTP/1.1\r\nHost: a.example.org\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
			[]string{"POST http://a.example.org/ HTTP/1.1 hi"}, ""},
		{"an address", "GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", nil, "an address is not asked"},
		{"an address in another spelling", "GET http://0x7f.1/ HTTP/1.1\r\nHost: a.example.org\r\n\r\n", nil, "an address is not asked"},
		{"another port", "GET / HTTP/1.1\r\nHost: a.example.org:8080\r\n\r\n", nil, "letters"},
		{"a user", "GET http://a@b.example.org@c/ HTTP/1.1\r\n\r\n", []string{"GET http://c/ HTTP/1.1 "}, ""},
		{"a host that is denied, after one that is not", "GET / HTTP/1.1\r\nHost: a.example.org\r\n\r\nGET / HTTP/1.1\r\nHost: denied.example.org\r\n\r\n",
			[]string{"GET http://a.example.org/ HTTP/1.1 "}, "denied"},
	} {
		t.Run(row.what, func(t *testing.T) {
			failed := ""
			c, p := webbed(t, "", &Web{
				May: func(_ context.Context, host string) error {
					if host == "denied.example.org" {
						failed = "denied"
						return errors.New(failed)
					}
					return nil
				},
				Failed: func(err error) { failed = err.Error() },
			})
			_, err := io.WriteString(c, row.sent)
			if err == nil {
				err = c.(interface{ CloseWrite() error }).CloseWrite()
			}
			answer, readErr := io.ReadAll(c)
			passed := row.failed == ""
			if (err == nil) != passed || passed && (readErr != nil || strings.Count(string(answer), "200 OK") != len(row.want)) {
				t.Errorf("%v, %v; the answer is %q", err, readErr, answer)
			}
			if passed != (failed == "") || !strings.Contains(failed, row.failed) || strings.Contains(failed, secret) {
				t.Errorf("it failed with %q, want %q", failed, row.failed)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if passed && !slices.Equal(p.asked, row.want) || len(p.asked) > len(row.want) {
				t.Errorf("the proxy was asked for %q, want %q", p.asked, row.want)
			}
		})
	}
}

// A connection can be closed while the proxy takes nothing, and while a request is judged.
func TestWebClosed(t *testing.T) {
	t.Parallel()
	judging := make(chan struct{}, 1)
	c, _ := webbed(t, "", &Web{
		May: func(ctx context.Context, _ string) error {
			judging <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		},
		Failed: func(err error) { t.Errorf("it failed: %v", err) },
	})
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.example.org\r\n\r\n")
	<-judging
	c.Close()

	silent := listen(t, "127.0.0.1:0", func(c net.Conn) {
		in := bufio.NewReader(c)
		r, err := http.ReadRequest(in)
		if err == nil && r.Method == http.MethodConnect {
			io.WriteString(c, "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
			return
		}
		<-t.Context().Done()
	})
	proxy, err := ParseProxy(silent.String())
	if err != nil {
		t.Fatal(err)
	}
	c, err = (&Dialer{}).Through(t.Context(), proxy, "www.example.org", 80, anyHost(t))
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { // ends with c
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: a.example.org\r\nContent-Length: 100000000\r\n\r\n")
		_, err := io.Copy(c, endless{})
		written <- err
	}()
	time.Sleep(50 * time.Millisecond) // it has no sign of its being full
	c.Close()
	if err := <-written; err == nil {
		t.Error("all was written to a proxy that takes nothing")
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// A proxy that says why it makes no tunnel, and would take no request either, is asked for none.
func TestWebOnlyWhereItHelps(t *testing.T) {
	for code, want := range map[int]Reason{407: ProxyRefused, 500: ProxyRefused, 302: ProxyRefused, 502: NoRoute, 504: TimedOut} {
		p := &tunnelProxy{status: code}
		s, _ := p.start(t, false)
		if _, err := through(t, &Dialer{}, s.URL, "example.org", 80); ReasonOf(err) != want || len(p.asked) != 1 {
			t.Errorf("Through a proxy that answers %d: %v (%v), want %v; it was asked %q", code, err, ReasonOf(err), want, p.asked)
		}
	}
}
