package dial

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const secret = "pa55-word"

func TestParseProxy(t *testing.T) {
	rows := []struct{ text, want string }{
		{"http://proxy.example.org:3128", "http://proxy.example.org:3128"},
		{"proxy.example.org:3128/", "http://proxy.example.org:3128"},
		{"https://u:" + secret + "@proxy.example.org", "https://proxy.example.org:443"},
		{"SOCKS5://[2001:db8::1]", "socks5://[2001:db8::1]:1080"},
		{"socks5h://u@127.0.0.1:9", "socks5h://127.0.0.1:9"},
		{"http://proxy.example.org", "http://proxy.example.org:80"},
		{"ftp://u:" + secret + "@proxy.example.org", "error"},
		{"http://u:" + secret + "@", "error"},
		{"http://u:" + secret + "@proxy.example.org:99999", "error"},
		{"http://u:" + secret + "@proxy.example.org:0", "error"},
		{"http://u:" + secret + "%zz@proxy.example.org", "error"},
		{"http://u:" + secret + "@pro xy", "error"},
		{"", "error"},
	}
	for _, row := range rows {
		p, err := ParseProxy(row.text)
		got := "error"
		if err == nil {
			got = p.String()
		}
		if got != row.want {
			t.Errorf("ParseProxy(%q) = %s, %v, want %s", row.text, got, err, row.want)
		}
		if strings.Contains(fmt.Sprint(err), secret) {
			t.Errorf("ParseProxy(%q): the error has the password: %v", row.text, err)
		}
	}
}

func TestProxiesNeverPrintCredentials(t *testing.T) {
	all, err := NewProxies("http://user:"+secret+"@one.example.org", "socks5://user:"+secret+"@two.example.org", "example.com")
	if err != nil {
		t.Fatal(err)
	}
	p := all.For("example.org", 443)
	asJSON, err := json.Marshal(map[string]any{"a": p, "b": *p, "c": all})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	l := slog.New(slog.NewJSONHandler(&log, nil))
	l.Info("x", "proxy", p, "value", *p, "all", all)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "proxy", p, "value", *p, "all", all)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %q", p, p, p, p, p), fmt.Sprintf("%v %+v %#v %s", *p, *p, *p, *p), fmt.Sprintf("%v %+v %#v", all, all, all), fmt.Sprintf("%v %+v %#v", *all, *all, *all), string(asJSON), log.String()} {
		if strings.Contains(text, secret) || strings.Contains(text, "user") {
			t.Errorf("credentials are printed: %s", text)
		}
	}
	if _, err := NewProxies("http://user:"+secret+"@x:y", "", ""); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("NewProxies with a bad proxy: %v, want an error without the password", err)
	}
}

func TestProxiesFor(t *testing.T) {
	all, err := NewProxies("one.example.org:1", "two.example.org:2", "example.com,.internal.example.net,10.0.0.0/8,only.example.org:8443")
	if err != nil {
		t.Fatal(err)
	}
	secureOnly, err := NewProxies("", "two.example.org:2", "")
	if err != nil {
		t.Fatal(err)
	}
	none, err := NewProxies("", "", "*")
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		in   *Proxies
		name string
		port uint16
		want string
	}{
		{all, "example.org", 80, "http://one.example.org:1"}, {all, "example.org", 443, "http://two.example.org:2"}, {all, "example.org", 22, "http://two.example.org:2"},
		{all, "example.com", 443, "none"}, {all, "www.example.com", 443, "none"}, {all, "a.internal.example.net", 80, "none"}, {all, "10.1.2.3", 80, "none"},
		{all, "only.example.org", 8443, "none"}, {all, "only.example.org", 443, "http://two.example.org:2"}, {all, "localhost", 443, "none"},
		{secureOnly, "example.org", 80, "none"}, {none, "example.org", 443, "none"}, {nil, "example.org", 443, "none"},
	}
	for _, row := range rows {
		got := "none"
		if p := row.in.For(row.name, row.port); p != nil {
			got = p.String()
		}
		if got != row.want {
			t.Errorf("For(%q, %d) = %s, want %s", row.name, row.port, got, row.want)
		}
	}
}

// tunnelProxy is an HTTP proxy: it answers CONNECT with status, and joins to the
// address to. It notes each request.
type tunnelProxy struct {
	to     netip.AddrPort
	status int
	mu     sync.Mutex
	asked  []string // target and credentials
	wg     sync.WaitGroup
}

func (p *tunnelProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.RequestURI+" "+r.Host+" "+user+" "+password)
	p.mu.Unlock()
	if p.status != http.StatusOK {
		http.Error(w, "no", p.status)
		return
	}
	peer, err := net.Dial("tcp", p.to.String())
	if err != nil {
		http.Error(w, "no", http.StatusBadGateway)
		return
	}
	c, in, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	p.wg.Add(1)
	defer p.wg.Done()
	join(c, in, peer, "HTTP/1.1 200 OK\r\n\r\n")
}

// join answers c with words and copies between c and peer until both ended.
func join(c net.Conn, in io.Reader, peer net.Conn, words string) {
	defer c.Close()
	defer peer.Close()
	io.WriteString(c, words)
	var wg sync.WaitGroup
	wg.Go(func() { // ends with the peer
		io.Copy(c, peer)
		c.(interface{ CloseWrite() error }).CloseWrite()
	})
	io.Copy(peer, in)
	peer.(*net.TCPConn).CloseWrite()
	wg.Wait()
}

// start runs the proxy until the test's end; tls is for an https one.
func (p *tunnelProxy) start(t *testing.T, secure bool) (*httptest.Server, *x509.CertPool) {
	t.Helper()
	s := httptest.NewUnstartedServer(p)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	roots := x509.NewCertPool()
	if secure {
		s.StartTLS()
		roots.AddCert(s.Certificate())
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		p.wg.Wait()
	})
	return s, roots
}

func through(t *testing.T, d *Dialer, url, name string, port uint16) (Conn, error) {
	t.Helper()
	p, err := ParseProxy(url)
	if err != nil {
		t.Fatal(err)
	}
	return d.Through(t.Context(), p, name, port, nil)
}

func TestThroughHTTP(t *testing.T) {
	to := listen(t, "127.0.0.1:0", backwards)
	for _, secure := range []bool{false, true} {
		p := &tunnelProxy{to: to, status: 200}
		s, roots := p.start(t, secure)
		d := &Dialer{
			Roots:  roots,
			Lookup: func(context.Context, string) ([]netip.Addr, error) { return addrs("127.0.0.1"), nil },
		}
		url := strings.Replace(s.URL, "://", "://us%40er:"+secret+"@", 1)
		c, err := through(t, d, url, "Www.Example.org.", 443)
		if err != nil {
			t.Fatal(err)
		}
		talk(t, c)
		// By the proxy's name: the test's certificate is for example.com.
		url = strings.Replace(s.URL, "127.0.0.1", "example.com", 1)
		c, err = through(t, d, url, "www.example.org", 22)
		if err != nil {
			t.Fatal(err)
		}
		talk(t, c)
		want := []string{"CONNECT www.example.org:443 www.example.org:443 us@er " + secret, "CONNECT www.example.org:22 www.example.org:22  "}
		if diff := cmp.Diff(want, p.asked); diff != "" {
			t.Errorf("the proxy was asked: -want +got\n%s", diff)
		}
		if secure {
			if _, err := through(t, &Dialer{}, s.URL, "www.example.org", 443); ReasonOf(err) != ProxyFailed || !strings.Contains(err.Error(), "TLS") {
				t.Errorf("Through a proxy of an unknown authority: %v (%v), want an error of TLS", err, ReasonOf(err))
			}
		}
	}
}

func TestThroughPeerThatSpeaksFirst(t *testing.T) {
	proxy := listen(t, "127.0.0.1:0", func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 Connection established\r\nContent-Length: 5\r\n\r\n220 mail\r\n")
		}
	})
	c, err := through(t, &Dialer{}, "http://"+proxy.String(), "mail.example.org", 25)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if b, err := io.ReadAll(c); err != nil || string(b) != "220 mail\r\n" {
		t.Errorf("the peer says %q, %v, want its greeting", b, err)
	}
}

func TestThroughRefusesLiterals(t *testing.T) {
	p := &tunnelProxy{status: 200}
	s, _ := p.start(t, false)
	d := &Dialer{}
	for _, name := range []string{"127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "1.2.3.4.", "::1", "[::1]", "fe80::1%eth0", "", ".", "a..b",
		"a b", "a\x00b", "a\r\nHost: x", "a/b", "a@b", "a:80", "é.example.org", strings.Repeat("a", 64) + ".org", strings.Repeat("a.", 127) + "org", "example.0X7f", "99999999999999999999"} {
		if _, err := through(t, d, s.URL, name, 443); ReasonOf(err) != Denied {
			t.Errorf("Through(%q): %v (%v), want denied", name, err, ReasonOf(err))
		}
	}
	if _, err := through(t, d, s.URL, "example.org", 0); ReasonOf(err) != Denied {
		t.Errorf("Through with port 0: %v, want denied", err)
	}
	if len(p.asked) != 0 {
		t.Errorf("the proxy was asked: %q", p.asked)
	}
}

func TestThroughHTTPThatRefuses(t *testing.T) {
	for status, want := range map[int]Reason{407: ProxyRefused, 403: ProxyRefused, 500: ProxyRefused, 404: ProxyRefused, 302: ProxyRefused, 502: NoRoute, 503: NoRoute, 504: TimedOut} {
		p := &tunnelProxy{status: status}
		s, _ := p.start(t, false)
		_, err := through(t, &Dialer{}, strings.Replace(s.URL, "://", "://user:"+secret+"@", 1), "example.org", 443)
		if ReasonOf(err) != want || !strings.Contains(fmt.Sprint(err), fmt.Sprint(status)) || strings.Contains(fmt.Sprint(err), secret) {
			t.Errorf("Through a proxy that answers %d: %v (%v), want %v with the status", status, err, ReasonOf(err), want)
		}
	}
}

func TestThroughHTTPThatFails(t *testing.T) {
	t.Parallel() // it takes a limit of 2 s
	rows := []struct {
		what  string
		serve func(net.Conn)
		want  string
	}{
		{"hangs", func(c net.Conn) { io.Copy(io.Discard, c) }, "does not answer"},
		{"closes early", func(c net.Conn) { c.Read(make([]byte, 1)) }, "proxy"},
		{"sends half an answer", func(c net.Conn) {
			http.ReadRequest(bufio.NewReader(c))
			io.WriteString(c, "HTTP/1.1 200 OK\r\nA: b\r\n")
		}, "closed the connection"},
		{"sends a header of 1 MiB", func(c net.Conn) {
			http.ReadRequest(bufio.NewReader(c))
			io.WriteString(c, "HTTP/1.1 200 OK\r\nA: "+strings.Repeat("x", 1<<20)+"\r\n\r\n")
			io.Copy(io.Discard, c)
		}, "more than 64 KiB"},
		{"speaks no HTTP", func(c net.Conn) {
			http.ReadRequest(bufio.NewReader(c))
			io.WriteString(c, "\x1b[31m"+strings.Repeat("y", 5000)+"\r\n\r\n")
			io.Copy(io.Discard, c)
		}, "…"},
		{"never ends with 100", func(c net.Conn) {
			http.ReadRequest(bufio.NewReader(c))
			for {
				if _, err := io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
					return
				}
			}
		}, "does not come to an answer"},
	}
	for _, row := range rows {
		ap := listen(t, "127.0.0.1:0", row.serve)
		d := &Dialer{}
		if row.what == "hangs" {
			d.Limit = 2 * time.Second
		}
		_, err := through(t, d, "http://user:"+secret+"@"+ap.String(), "example.org", 443)
		text := fmt.Sprint(err)
		if ReasonOf(err) != ProxyFailed || !strings.Contains(text, row.want) || strings.Contains(text, secret) || len(text) > 500 || strings.Contains(text, "\x1b") {
			t.Errorf("Through a proxy that %s: %q (%v), want the proxy failed and %q", row.what, text, ReasonOf(err), row.want)
		}
	}
	if _, err := through(t, &Dialer{}, "http://"+free(t).String(), "example.org", 443); ReasonOf(err) != ProxyFailed {
		t.Errorf("Through a proxy that is down: %v (%v), want the proxy failed", err, ReasonOf(err))
	}
}

// socksServer answers one SOCKS5 request: credentials if user is not "", then code.
func socksServer(to netip.AddrPort, user string, code byte, asked chan<- string) func(net.Conn) {
	return func(c net.Conn) {
		buf := make([]byte, 600)
		read := func(n int) []byte {
			if _, err := io.ReadFull(c, buf[:n]); err != nil {
				return make([]byte, n)
			}
			return append([]byte(nil), buf[:n]...)
		}
		methods := read(int(read(2)[1]))
		said := ""
		switch {
		case user == "":
			c.Write([]byte{5, 0})
		case !strings.Contains(string(methods), "\x02"):
			c.Write([]byte{5, 0xff})
			return
		default:
			c.Write([]byte{5, 2})
			name := read(int(read(2)[1]))
			password := read(int(read(1)[0]))
			said = string(name) + " " + string(password)
			if string(name) != user {
				c.Write([]byte{1, 1})
				return
			}
			c.Write([]byte{1, 0})
		}
		head := read(4)
		host := read(int(read(1)[0]))
		port := read(2)
		select {
		case asked <- fmt.Sprintf("%d %d %s %d %s", head[1], head[3], host, int(port[0])<<8|int(port[1]), said):
		default:
		}
		answer := string([]byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0})
		if code != 0 {
			io.WriteString(c, answer)
			return
		}
		peer, err := net.Dial("tcp", to.String())
		if err != nil {
			return
		}
		join(c, c, peer, answer)
	}
}

func TestThroughSOCKS(t *testing.T) {
	to := listen(t, "127.0.0.1:0", backwards)
	asked := make(chan string, 1)
	rows := []struct {
		what, scheme, user string // the server's
		auth               string
		code               byte
		want               Reason
		said               string
	}{
		{"open", "socks5", "", "", 0, 0, "1 3 www.example.org 443 "},
		{"open, by socks5h", "socks5h", "", "", 0, 0, "1 3 www.example.org 443 "},
		{"with credentials", "socks5", "user", "user:" + secret + "@", 0, 0, "1 3 www.example.org 443 user " + secret},
		{"with others", "socks5", "user", "resu:" + secret + "@", 0, ProxyRefused, ""},
		{"without them", "socks5", "user", "", 0, ProxyRefused, ""},
		{"general failure", "socks5", "", "", 1, NoRoute, ""},
		{"ruleset", "socks5", "", "", 2, ProxyRefused, ""},
		{"network unreachable", "socks5", "", "", 3, NoRoute, ""},
		{"host unreachable", "socks5", "", "", 4, NoRoute, ""},
		{"refused", "socks5", "", "", 5, Refused, ""},
		{"TTL", "socks5", "", "", 6, NoRoute, ""},
		{"unknown command", "socks5", "", "", 7, ProxyFailed, ""},
		{"nonsense", "socks5", "", "", 99, ProxyFailed, ""},
	}
	for _, row := range rows {
		ap := listen(t, "127.0.0.1:0", socksServer(to, row.user, row.code, asked))
		c, err := through(t, &Dialer{}, row.scheme+"://"+row.auth+ap.String(), "www.example.org", 443)
		if strings.Contains(fmt.Sprint(err), secret) {
			t.Errorf("%s: the error has the password: %v", row.what, err)
		}
		if (err == nil) != (row.want == 0) || ReasonOf(err) != row.want {
			t.Errorf("%s: Through = %v (%v), want %v", row.what, err, ReasonOf(err), row.want)
		}
		if err == nil {
			talk(t, c)
		}
		select {
		case got := <-asked:
			if row.said != "" && got != row.said {
				t.Errorf("%s: the proxy was asked %q, want %q", row.what, got, row.said)
			}
		default:
		}
	}
	for _, silent := range []func(net.Conn){func(c net.Conn) { io.Copy(io.Discard, c) }, func(c net.Conn) { c.Read(make([]byte, 1)) }} {
		ap := listen(t, "127.0.0.1:0", silent)
		if _, err := through(t, &Dialer{Limit: 300 * time.Millisecond}, "socks5://"+ap.String(), "example.org", 443); ReasonOf(err) != ProxyFailed {
			t.Errorf("Through a SOCKS proxy that hangs or closes: %v (%v), want the proxy failed", err, ReasonOf(err))
		}
	}
	if _, err := through(t, &Dialer{}, "socks5://"+strings.Repeat("u", 300)+":p@127.0.0.1:1", "example.org", 443); ReasonOf(err) != ProxyFailed {
		t.Errorf("Through with a user of 300 bytes: %v, want an error", err)
	}
}

func TestThroughCancelled(t *testing.T) {
	got := make(chan bool, 1)
	ap := listen(t, "127.0.0.1:0", func(c net.Conn) {
		c.Read(make([]byte, 1))
		got <- true
		io.Copy(io.Discard, c)
	})
	p, err := ParseProxy("http://" + ap.String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stop := make(chan bool)
	go func() { // ends once the proxy was asked
		defer close(stop)
		<-got
		cancel()
	}()
	if _, err := (&Dialer{}).Through(ctx, p, "example.org", 443, nil); ReasonOf(err) != Cancelled {
		t.Errorf("Through: %v (%v), want cancelled", err, ReasonOf(err))
	}
	<-stop
}
