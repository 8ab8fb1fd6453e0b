package egress

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
	"banger/internal/network/dial"
	"banger/internal/network/resolver"
)

// upstream is a proxy of the host's: it joins whatever it is asked for to a server of the
// test's, or refuses.
type upstream struct {
	addr netip.AddrPort
	to   netip.AddrPort

	mu     sync.Mutex
	refuse bool
	asked  []string
}

func (u *upstream) note(target string) (refuse bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked = append(u.asked, target)
	return u.refuse
}

func (u *upstream) join(c *net.TCPConn, left io.Reader) {
	s, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(u.to))
	if err != nil {
		return
	}
	defer s.Close()
	var copying sync.WaitGroup
	copying.Go(func() { // ends with either
		io.Copy(s, left)
		s.CloseWrite()
	})
	io.Copy(c, s)
	c.CloseWrite()
	copying.Wait()
}

// connectProxy speaks HTTP CONNECT.
func (u *upstream) connectProxy(c *net.TCPConn) {
	in := bufio.NewReader(c)
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	if u.note(r.Host) {
		io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
		return
	}
	io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
	u.join(c, in)
}

// socksProxy speaks SOCKS5 (RFC 1928).
func (u *upstream) socksProxy(c *net.TCPConn) {
	b := make([]byte, 300)
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		return
	}
	io.ReadFull(c, b[:b[1]])
	c.Write([]byte{5, 0})
	if _, err := io.ReadFull(c, b[:5]); err != nil {
		return
	}
	if b[3] != 3 { // no name
		u.note(fmt.Sprintf("an address of type %d", b[3]))
		return
	}
	name := b[5 : 5+int(b[4])+2]
	io.ReadFull(c, name)
	n := len(name) - 2
	code := byte(0)
	if u.note(fmt.Sprintf("%s:%d", name[:n], int(name[n])<<8|int(name[n+1]))) {
		code = 2
	}
	c.Write([]byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0})
	if code == 0 {
		u.join(c, c)
	}
}

func (u *upstream) take() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := u.asked
	u.asked = nil
	return out
}

// A proxy is asked by name, after the policy, and never for a literal or a name with a closed
// address.
func TestProxy(t *testing.T) {
	for _, scheme := range []string{"http", "socks5"} {
		t.Run(scheme, func(t *testing.T) {
			u := &upstream{}
			handle := u.connectProxy
			if scheme == "socks5" {
				handle = u.socksProxy
			}
			loopback := netip.MustParseAddr("127.0.0.1")
			u.addr, u.to = serve(t, loopback, 0, handle), serve(t, loopback, 0, echo)
			url := scheme + "://" + u.addr.String()
			with := strings.Replace(url, "://", "://user:secret@", 1)
			if scheme == "socks5" {
				with = url // this one wants no password
			}
			proxies, err := dial.NewProxies(with, with, "direct.example")
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, setup{policy: "public --allow *.behind.example", proxies: proxies})
			w.dns.set("site.example", publicAddr)
			w.dns.set("mixed.example", otherAddr, lanAddr)
			w.dns.set("lan.example", lanAddr)
			w.dns.set("direct.example", public6Addr)
			holds := func(what string, want ...string) {
				t.Helper()
				if got := u.take(); !slices.Equal(got, want) {
					t.Errorf("%s: the proxy was asked for %q, want %q", what, got, want)
				}
			}

			goesOn(t, "by name", w.mustConnect(netip.AddrPortFrom(w.resolve("site.example"), 443)))
			holds("a name", "site.example:443")

			w.refused(netip.AddrPortFrom(goneAddr, 443), netflow.Unreachable, "")
			holds("a literal")

			w.resolve("mixed.example")
			w.refused(netip.AddrPortFrom(otherAddr, 9), netflow.Refused, "")
			w.refused(netip.AddrPortFrom(lanAddr, 9), netflow.Denied, "private")
			holds("a name with a public and a closed address")
			w.resolve("lan.example")
			w.refused(netip.AddrPortFrom(lanAddr, 443), netflow.Denied, "private")
			holds("a name with a closed address")

			direct := serve(t, public6Addr, 0, echo)
			w.ask("direct.example", 28)
			goesOn(t, "without the proxy", w.mustConnect(direct))
			holds("a name of NO_PROXY")

			// Names that only the proxy can resolve.
			if a := w.resolve("unknown.example"); a.IsValid() {
				t.Errorf("under public a name that the host can't resolve has %s", a)
			}
			w.recorded("dns", "name=unknown.example", "--allow unknown.example")
			a := w.resolve("www.behind.example")
			if !resolver.SyntheticPrefix.Contains(a) {
				t.Fatalf("a name that only the proxy resolves has %s", a)
			}
			f := w.mustConnect(netip.AddrPortFrom(a, 443))
			says(t, f, []byte("\x00hello"))
			holds("a synthetic address", "www.behind.example:443")
			f = w.mustConnect(netip.AddrPortFrom(a, 443))
			says(t, f, hello(t, "ftp.behind.example"))
			f = w.mustConnect(netip.AddrPortFrom(a, 443))
			f.Write(hello(t, "evil.example"))
			cut(t, "to a synthetic address with another name", f)
			w.recorded("name=evil.example", "its TLS says evil.example", "--allow evil.example")
			holds("a synthetic address", "www.behind.example:443", "www.behind.example:443")
			w.dns.set("www.behind.example", lanAddr)
			w.refused(netip.AddrPortFrom(a, 443), netflow.Unreachable, "only the upstream proxy")
			holds("a synthetic address whose name has a closed one now")
			if a := w.resolve("www.behind.local"); a.IsValid() {
				t.Errorf("a local name has %s", a)
			}
			w.refused(netip.MustParseAddrPort("198.18.77.77:443"), netflow.Denied, "")

			u.mu.Lock()
			u.refuse = true
			u.mu.Unlock()
			w.refused(netip.AddrPortFrom(publicAddr, 443), netflow.Refused, "")
			holds("a proxy that refuses", "site.example:443")
			w.recorded("tcp " + publicAddr.String() + " name=site.example port=443: ask the proxy " + url)
			w.mu.Lock()
			if e := w.events[len(w.events)-1]; !e.Failed || strings.Contains(e.Reason, "secret") {
				t.Errorf("the event is %+v", e)
			}
			w.mu.Unlock()
			if n := w.g.SetPolicy(parsePolicy(t, "deny")); n < 2 {
				t.Errorf("%d connections are ended, want those by the proxy too", n)
			}
		})
	}
}

// requestProxy is an HTTP proxy that makes no tunnel, and answers requests itself.
func (u *upstream) requestProxy(c *net.TCPConn) {
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
		u.note(r.RequestURI)
		io.WriteString(c, noContent)
	}
}

const noContent = "HTTP/1.1 204 No Content\r\n\r\n"

// Each request to a proxy that makes no tunnel is judged: it looks names up itself.
func TestProxyWithoutTunnel(t *testing.T) {
	u := &upstream{}
	u.addr = serve(t, netip.MustParseAddr("127.0.0.1"), 0, u.requestProxy)
	proxies, err := dial.NewProxies("http://user:secret@"+u.addr.String(), "", "direct.example")
	if err != nil {
		t.Fatal(err)
	}
	get := func(host string) string { return "GET /a HTTP/1.1\r\nHost: " + host + "\r\n\r\n" }
	answered := func(f *flow.Flow, host string) {
		t.Helper()
		mustWrite(t, f, get(host))
		if _, err := io.ReadFull(f, make([]byte, len(noContent))); err != nil {
			t.Errorf("a request for %s: %v", host, err)
		}
	}
	for _, policy := range []string{
		"public --deny denied.example --allow *.behind.example --allow lan.example:80",
		"deny --allow site.example --allow other.example --allow direct.example --allow *.behind.example --allow lan.example:80 --allow host:80",
	} {
		t.Run(policy[:4], func(t *testing.T) {
			w := newWorld(t, setup{policy: policy, proxies: proxies})
			for name, a := range map[string]netip.Addr{"site.example": publicAddr, "other.example": otherAddr, "denied.example": otherAddr, "direct.example": publicAddr, "lan.example": lanAddr} {
				w.dns.set(name, a)
			}
			a := w.resolve("site.example")
			open := func() *flow.Flow {
				f := w.mustConnect(netip.AddrPortFrom(a, 80))
				answered(f, "site.example")
				return f
			}
			f := open()
			answered(f, "other.example")
			answered(f, "www.behind.example")
			mustWrite(t, f, get("denied.example"))
			cut(t, "after a request to a denied host", f)
			w.recorded("name=denied.example port=80", "denied")
			for _, row := range []struct{ what, host, reason string }{
				{"a name with a closed address, which is open without the proxy", "lan.example", "closed address"},
				{"a name of NO_PROXY", "direct.example", "without a proxy"},
				{"the host", "host.banger.internal", ""},
				{"an address", "10.1.2.3", "an address is not asked"},
				{"a name that nobody allows and only the proxy knows", "unknown.example", ""},
			} {
				f, before := open(), w.count()
				mustWrite(t, f, get(row.host))
				cut(t, row.what, f)
				w.until("an event for "+row.what, func() bool { return w.count() > before })
				w.recorded("name="+strings.TrimSuffix(row.host, "10.1.2.3"), row.reason)
			}
			f = w.mustConnect(netip.AddrPortFrom(a, 80))
			mustWrite(t, f, "SSH-2.0-x\r\n")
			cut(t, "what is no request", f)
			if strings.HasPrefix(policy, "public") {
				w.recorded("name=site.example port=80: the proxy http://"+u.addr.String()+" makes no tunnel to port 80", "not HTTP/1")
			}
			want := []string{"http://site.example/a", "http://other.example/a", "http://www.behind.example/a"}
			for range 5 {
				want = append(want, "http://site.example/a")
			}
			if got := u.take(); !slices.Equal(got, want) {
				t.Errorf("the proxy was asked for %q, want %q", got, want)
			}
			f = open()
			if n := w.g.SetPolicy(parsePolicy(t, "deny")); n < 1 {
				t.Errorf("%d connections are ended, want the proxy's", n)
			}
			cut(t, "after a stricter policy", f)
			u.take()
		})
	}
}

// A check says that only the proxy resolves a name, and asks it nothing.
func TestCheckProxy(t *testing.T) {
	u := &upstream{}
	u.addr = serve(t, netip.MustParseAddr("127.0.0.1"), 0, u.connectProxy)
	proxies, err := dial.NewProxies("http://"+u.addr.String(), "", "direct.behind.example")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, setup{policy: "public --allow *.behind.example --allow www.behind.example:443", proxies: proxies})
	w.dns.set("site.behind.example", publicAddr)
	w.dns.set("six.behind.example", public6Addr)
	for _, tt := range []struct {
		name           string
		port           uint16
		allow, byProxy bool
		failed, hint   string
	}{
		{"www.behind.example", 80, true, true, "", ""},
		{"www.behind.example", 443, true, false, "not used for it on this port", ""},
		{"direct.behind.example", 80, true, false, "finds no address", ""},
		{"www.behind.local", 80, true, false, "finds no address", ""},
		{"unknown.example", 80, false, false, "", "--allow unknown.example"},
		{"site.behind.example", 80, true, false, "", ""},
		{"six.behind.example", 80, true, false, "", ""},
	} {
		c := w.g.Check(limited(t), tt.name, tt.port)
		if len(c) != 1 || c[0].Verdict.Allow != tt.allow || c[0].ByProxy != tt.byProxy ||
			!strings.Contains(c[0].Failed, tt.failed) || tt.failed == "" && c[0].Failed != "" || c[0].Verdict.Hint != tt.hint {
			t.Errorf("check %s:%d: %+v, want %+v", tt.name, tt.port, c, tt)
		}
	}
	if a := w.resolve("www.behind.example"); !resolver.SyntheticPrefix.Contains(a) {
		t.Errorf("a name that only HTTP's proxy resolves has %s", a)
	}
	if asked := u.take(); asked != nil {
		t.Errorf("the proxy was asked for %q", asked)
	}
}

// What the server says with the proxy's answer is the guest's, and a reset goes through.
func TestProxyServerFirst(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	end, got := make(chan error, 1), make(chan struct{})
	addr := serve(t, loopback, 0, func(c *net.TCPConn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nSSH-2.0-x\r\n")
		io.ReadFull(c, make([]byte, 5))
		close(got)
		_, err := c.Read(make([]byte, 1))
		end <- err
	})
	proxies, err := dial.NewProxies("", "http://"+addr.String(), "")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, setup{policy: "public --deny bad.example", proxies: proxies})
	w.dns.set("site.example", publicAddr)
	f := w.mustConnect(netip.AddrPortFrom(w.resolve("site.example"), 22))
	greeting := make([]byte, 11)
	if _, err := io.ReadFull(f, greeting); err != nil || !strings.HasPrefix(string(greeting), "SSH") {
		t.Fatalf("%q came, %v", greeting, err)
	}
	mustWrite(t, f, "hello")
	<-got
	f.Reset()
	if err := <-end; err == nil || err == io.EOF {
		t.Errorf("after the guest's reset the server reads %v", err)
	}
}
