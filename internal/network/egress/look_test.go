package egress

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
)

// hello is the ClientHello that Go sends for a name; without one, for an address.
func hello(t *testing.T, name string) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	client := tls.Client(a, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	done := make(chan struct{})
	go func() { // ends when b is closed
		defer close(done)
		client.Handshake()
	}()
	defer func() { b.Close(); <-done }()
	var head [5]byte
	if _, err := io.ReadFull(b, head[:]); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(b, body); err != nil {
		t.Fatal(err)
	}
	return append(head[:], body...)
}

// request2 is the beginning of a connection of HTTP/2 without TLS, up to its first request.
func request2(t *testing.T, authority string) []byte {
	t.Helper()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", authority}} {
		if err := enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			t.Fatal(err)
		}
	}
	out := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 0, 0, 0, 4, 0, 0, 0, 0, 0) // no settings
	out = append(out, 0, 0, byte(block.Len()), 1, 5, 0, 0, 0, 1)                         // HEADERS, the last of the request
	return append(out, block.Bytes()...)
}

func get(host string) []byte { return []byte("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n") }

// A name rule means the name, on any port. A denial resets, and is recorded with what would
// allow it.
func TestFirstBytes(t *testing.T) {
	const named = "deny --allow site.example --allow site.example:8080 --allow site.example:8880"
	rows := []struct {
		name, policy string
		port         uint16
		send         []byte
		denied       string // a part of the reason; empty if it passes
		hint         string
	}{
		{"SNI", named, 443, hello(t, "site.example"), "", ""},
		{"other SNI", named, 443, hello(t, "evil.example"), "its TLS says evil.example", "--allow evil.example"},
		{"other SNI on 8080", named, 8080, hello(t, "evil.example"), "its TLS says evil.example", "--allow evil.example:8080"},
		{"other SNI on 8880", named, 8880, hello(t, "evil.example"), "its TLS says evil.example", "--allow evil.example:8880"},
		{"no SNI", named, 443, hello(t, ""), "says no name", ""},
		{"Host", named, 80, get("site.example"), "", ""},
		{"Host on 8080", named, 8080, get("SITE.example:8080"), "", ""},
		{"other Host", named, 80, get("evil.example"), "its HTTP says evil.example", "--allow evil.example"},
		{"Host against target", named, 80, []byte("GET http://site.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n"), "its HTTP says evil.example", ""},
		{"no Host", named, 80, []byte("GET / HTTP/1.0\r\n\r\n"), "says no name", ""},
		{"Host after byte 1,024", named, 80, []byte("GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 3000) + "\r\nHost: evil.example\r\n\r\n"), "its HTTP says evil.example", ""},
		{"header over 16 KiB", named, 80, []byte("GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 20<<10)), "more than 16 KiB", ""},
		{"HTTP/2", named, 80, request2(t, "site.example"), "", ""},
		{"HTTP/2, other name", named, 80, request2(t, "evil.example"), "its HTTP/2 says evil.example", ""},
		{"other bytes", named, 443, []byte("\x00\x01\x02"), "", ""},
		{"SSH", named, 443, []byte("SSH-2.0-Go\r\n"), "", ""},
		{"denied SNI", "public --deny evil.example", 443, hello(t, "evil.example"), "is denied by --deny evil.example", ""},
		{"another SNI under public", "public --deny evil.example", 443, hello(t, "fine.example"), "", ""},
	}
	for _, row := range rows {
		for _, size := range []int{1 << 20, 100, 1} { // bytes of a write
			if len(row.send)/size > 4000 {
				continue
			}
			t.Run(fmt.Sprint(row.name, " by ", size), func(t *testing.T) {
				w := newWorld(t, setup{policy: row.policy})
				w.dns.set("site.example", publicAddr)
				w.resolve("site.example")
				got := make(chan []byte, 1)
				addr := serve(t, publicAddr, row.port, func(c *net.TCPConn) {
					text, _ := io.ReadAll(c)
					got <- text
					io.WriteString(c, "done")
				})
				f := w.mustConnect(addr)
				for rest := row.send; len(rest) > 0; {
					n := min(size, len(rest))
					if _, err := f.Write(rest[:n]); err != nil {
						break
					}
					rest = rest[n:]
				}
				if row.denied == "" {
					f.CloseWrite()
					if text := all(t, f); text != "done" {
						t.Errorf("the server answers %q", text)
					}
					if text := <-got; !bytes.Equal(text, row.send) {
						t.Errorf("the server got %q", text)
					}
				} else {
					if text, err := io.ReadAll(struct{ io.Reader }{f}); !errors.Is(err, flow.ErrReset) {
						t.Errorf("%q came, %v, want %v", text, err, flow.ErrReset)
					}
					w.recorded("tcp", publicAddr.String(), row.denied, row.hint, "[tcp:40000]")
					if text := <-got; bytes.Contains(text, []byte("evil")) {
						t.Errorf("the server got %q", text)
					}
				}
				w.idle()
			})
		}
	}
}

// The server speaks before all of the ClientHello is there: what is held back can't go on.
func TestServerFirstInTheMiddle(t *testing.T) {
	w := newWorld(t, setup{policy: "deny --allow site.example"})
	w.dns.set("site.example", publicAddr)
	w.resolve("site.example")
	speak := make(chan struct{})
	f := w.mustConnect(serve(t, publicAddr, 443, func(c *net.TCPConn) {
		<-speak
		io.WriteString(c, "hello")
		io.Copy(io.Discard, c)
	}))
	f.Write(hello(t, "site.example")[:40])
	w.until("the beginning is held", func() bool { return w.held() == 40 })
	close(speak)
	if text, err := io.ReadAll(struct{ io.Reader }{f}); !errors.Is(err, flow.ErrReset) {
		t.Errorf("%q came, %v, want %v", text, err, flow.ErrReset)
	}
	w.recorded("it ends in the middle")
}

// held is how many first bytes of the guest's connections are not yet decided on.
func (w *world) held() (n int) {
	w.g.mu.Lock()
	defer w.g.mu.Unlock()
	for c := range w.g.live {
		c.mu.Lock()
		l := c.first
		c.mu.Unlock()
		if l != nil {
			l.mu.Lock()
			n += len(l.first)
			l.mu.Unlock()
		}
	}
	return n
}

// A guest that sends a part and then nothing does not keep its connection.
func TestFirstBytesInTime(t *testing.T) {
	for _, send := range [][]byte{hello(t, "site.example")[:60], []byte("GET / HT"), []byte("G")} {
		t.Run(fmt.Sprintf("%.4q", send), func(t *testing.T) {
			w := newWorld(t, setup{policy: "deny --allow site.example"})
			w.g.lookLimit = 50 * time.Millisecond
			w.dns.set("site.example", publicAddr)
			w.resolve("site.example")
			f := w.mustConnect(serve(t, publicAddr, 443, func(c *net.TCPConn) { io.Copy(io.Discard, c) }))
			f.Write(send)
			if text, err := io.ReadAll(struct{ io.Reader }{f}); !errors.Is(err, flow.ErrReset) {
				t.Errorf("%q: %q came, %v, want %v", send, text, err, flow.ErrReset)
			}
			w.recorded("it ends in the middle", "[tcp:40000]")
			w.idle()
		})
	}
}

// Where nothing is held back, nothing has to come in time: of HTTP/2's settings, and of
// a connection under public.
func TestFirstBytesPassedOn(t *testing.T) {
	w := newWorld(t, setup{policy: "deny --allow site.example"})
	w.g.lookLimit = 10 * time.Millisecond
	w.dns.set("site.example", publicAddr)
	w.resolve("site.example")
	addr := serve(t, publicAddr, 80, echo)
	f := w.mustConnect(addr)
	send := request2(t, "site.example")
	n := bytes.LastIndex(send, []byte{1, 5}) - 3 // before the frame HEADERS
	f.Write(send[:n])
	got := make([]byte, len(send))
	if _, err := io.ReadFull(f, got[:n]); err != nil {
		t.Fatalf("the settings come back: %v", err)
	}
	time.Sleep(50 * time.Millisecond)
	f.Write(send[n:])
	if _, err := io.ReadFull(f, got[n:]); err != nil || !bytes.Equal(got, send) {
		t.Errorf("%q came back, %v", got, err)
	}
	w.g.SetPolicy(parsePolicy(t, "public"))
	f = w.mustConnect(addr)
	mustWrite(t, f, "GE")
	if _, err := io.ReadFull(f, got[:2]); err != nil {
		t.Errorf("under public: %v", err)
	}
}

// Under public what says a denied name is denied, however late its rest comes and whatever
// the server says meanwhile.
func TestDeniedNameInParts(t *testing.T) {
	for what, send := range map[string][]byte{"TLS": hello(t, "evil.example"), "HTTP": get("evil.example")} {
		for _, n := range []int{1, 7, len(send) - 1} {
			t.Run(fmt.Sprint(what, " after ", n), func(t *testing.T) {
				w := newWorld(t, setup{policy: "public --deny evil.example"})
				w.g.lookLimit = 50 * time.Millisecond
				got := make(chan []byte, 1)
				addr := serve(t, publicAddr, 443, func(c *net.TCPConn) {
					head := make([]byte, n)
					if _, err := io.ReadFull(c, head); err != nil {
						t.Errorf("the server waits for %d bytes: %v", n, err)
					}
					io.WriteString(c, "?")
					rest, _ := io.ReadAll(c)
					got <- rest
				})
				f := w.mustConnect(addr)
				mustWrite(t, f, string(send[:n]))
				if _, err := io.ReadFull(f, make([]byte, 1)); err != nil {
					t.Fatalf("the server's answer to the beginning: %v", err)
				}
				f.Write(send[n:])
				cut(t, "a denied name in parts", f)
				w.recorded("its " + what + " says evil.example")
				if rest := <-got; len(rest) > 0 {
					t.Errorf("the server got %q behind the beginning", rest)
				}
				w.idle()
			})
		}
	}
}

// A server of HTTP/2 may speak first: what the guest says then is judged all the same.
func TestServerFirstHTTP2(t *testing.T) {
	for name, denied := range map[string]string{"site.example": "", "evil.example": "its HTTP/2 says evil.example"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, setup{policy: "deny --allow site.example"})
			w.dns.set("site.example", publicAddr)
			w.resolve("site.example")
			got := make(chan []byte, 1)
			f := w.mustConnect(serve(t, publicAddr, 80, func(c *net.TCPConn) {
				c.Write([]byte{0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100}) // SETTINGS
				text, _ := io.ReadAll(c)
				got <- text
			}))
			if _, err := io.ReadFull(f, make([]byte, 15)); err != nil {
				t.Fatalf("the server's settings: %v", err)
			}
			send := request2(t, name)
			f.Write(send)
			f.CloseWrite()
			text := <-got
			if denied == "" {
				if !bytes.Equal(text, send) {
					t.Errorf("the server got %q", text)
				}
				return
			}
			cut(t, "another name", f)
			w.recorded(denied)
			if len(text) > 24+9 { // the preface and the settings
				t.Errorf("the server got %q", text)
			}
		})
	}
}

// A proxy in the LAN that a rule opens is asked for allowed names only.
func TestProxyOfAClient(t *testing.T) {
	w := newWorld(t, setup{policy: "public --allow proxy.example:3128 --allow site.example"})
	w.dns.set("proxy.example", lanAddr)
	w.resolve("proxy.example")
	addr := serve(t, lanAddr, 3128, echo)
	for _, first := range []string{"GET http://site.example/x HTTP/1.1\r\nHost: site.example\r\n\r\n", "CONNECT site.example:443 HTTP/1.1\r\nHost: site.example:443\r\n\r\n"} {
		says(t, w.mustConnect(addr), []byte(first))
	}
	for first, reason := range map[string]string{
		"GET http://intra.example/x HTTP/1.1\r\nHost: site.example\r\n\r\n":             "its HTTP says intra.example",
		"GET http://site.example/x HTTP/1.1\r\nHost: evil.example\r\n\r\n":              "its HTTP says evil.example",
		"CONNECT site.example:22 HTTP/1.1\r\nHost: site.example:22\r\n\r\n":             "its HTTP says site.example",
		"CONNECT 10.20.30.40:443 HTTP/1.1\r\nHost: site.example\r\n\r\n":                "is no name",
		"CONNECT localhost:443 HTTP/1.1\r\nHost: site.example\r\n\r\n":                  "its HTTP says localhost",
		"GET http://site.example@intra.example/ HTTP/1.1\r\nHost: site.example\r\n\r\n": "its HTTP says intra.example",
	} {
		f := w.mustConnect(addr)
		f.Write([]byte(first))
		cut(t, first, f)
		w.recorded("tcp", lanAddr.String(), reason)
	}
}

// --deny NAME means its addresses too, as the host finds them, for what says no name.
func TestDeniedNameByLiteral(t *testing.T) {
	w := newWorld(t, setup{policy: "public --deny bad.example"})
	w.dns.set("bad.example", publicAddr)
	addr := serve(t, publicAddr, 0, func(c *net.TCPConn) { io.WriteString(c, "hi"); io.Copy(io.Discard, c) })
	if f, err := w.connect(addr); err == nil { // else the reset came with the answer
		cut(t, "to an address of a denied name", f)
	} else if !errors.Is(err, flow.ErrReset) {
		t.Errorf("connect: %v, want %v", err, flow.ErrReset)
	}
	w.recorded(publicAddr.String()+" is an address of bad.example", "denied by --deny bad.example")
	if a := w.resolve("bad.example"); a.IsValid() {
		t.Errorf("the denied name is resolved to %s", a)
	}
	w.recorded("dns", "name=bad.example")
	// Its addresses are kept when the host's resolver can't be asked, or the guest gives up.
	w.dns.mu.Lock()
	w.dns.down = true
	w.dns.mu.Unlock()
	w.g.denied.mu.Lock()
	w.g.denied.last.ends = time.Time{}
	w.g.denied.mu.Unlock()
	q := w.g.question(limited(t), addr)
	if len(q.Denied) != 1 {
		t.Errorf("with the resolver down the denied names are %q", q.Denied)
	}
	// So they are when the host's network changes, or another name is denied, and the resolver is not up yet.
	w.g.Recheck()
	w.g.SetPolicy(parsePolicy(t, "public --deny bad.example --deny other.example"))
	if q := w.g.question(limited(t), addr); len(q.Denied) != 1 {
		t.Errorf("with the resolver down after a change the denied names are %q", q.Denied)
	}
}

// Who has a denied name does not hold up connections by a server of names that is silent; when it
// answers, connections to the addresses that it tells then end.
func TestDeniedNameHeld(t *testing.T) {
	w := newWorld(t, setup{policy: "public --deny bad.example", options: "timeout:30 attempts:1"})
	w.dns.set("bad.example", otherAddr)
	addr := serve(t, publicAddr, 0, func(c *net.TCPConn) { io.WriteString(c, "hi"); io.Copy(c, struct{ io.Reader }{c}) })
	hi := make([]byte, 2)
	first := w.mustConnect(addr)
	io.ReadFull(first, hi)
	goesOn(t, "before", first)
	held := make(chan struct{})
	w.dns.mu.Lock()
	w.dns.held = held
	w.dns.mu.Unlock()
	w.dns.set("bad.example", publicAddr)
	w.g.denied.mu.Lock()
	w.g.denied.last.ends = time.Time{}
	w.g.denied.mu.Unlock()
	for _, what := range []string{"in vain", "after a change of the network"} {
		begun := time.Now()
		f := w.mustConnect(addr)
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("a connection took %s while the denied name is looked up %s", took, what)
		}
		io.ReadFull(f, hi)
		goesOn(t, what, f)
		w.g.Recheck()
	}
	close(held)
	cut(t, "to an address that a denied name has now", first)
	w.recorded(publicAddr.String()+" is an address of bad.example", "[tcp:40000]")
	w.idle()
}

// A name that flips between two look-ups has both addresses; one that was never looked up has none.
func TestPins(t *testing.T) {
	w := newWorld(t, setup{policy: "deny --allow site.example"})
	addrs := []netip.Addr{publicAddr, otherAddr}
	for _, a := range addrs {
		serve(t, a, 443, echo)
		w.refused(netip.AddrPortFrom(a, 443), netflow.Denied, "no allowed name leads to "+a.String())
	}
	for _, a := range addrs {
		w.dns.set("site.example", a)
		if got := w.resolve("site.example"); got != a {
			t.Fatalf("the name has %s, want %s", got, a)
		}
	}
	for _, a := range addrs {
		f := w.mustConnect(netip.AddrPortFrom(a, 443))
		send := hello(t, "site.example")
		f.Write(send)
		if _, err := io.ReadFull(f, make([]byte, len(send))); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
}

// The server's end says nothing: what the guest sends after it is judged.
func TestServerEndsFirst(t *testing.T) {
	w := newWorld(t, setup{policy: "deny --allow site.example"})
	w.dns.set("site.example", publicAddr)
	w.resolve("site.example")
	got := make(chan []byte, 1)
	f := w.mustConnect(serve(t, publicAddr, 443, func(c *net.TCPConn) {
		c.CloseWrite()
		text, _ := io.ReadAll(c)
		got <- text
	}))
	if text := all(t, f); text != "" {
		t.Errorf("%q came", text)
	}
	f.Write(hello(t, "evil.example"))
	w.recorded("its TLS says evil.example")
	if text := <-got; len(text) > 0 {
		t.Errorf("the server got %q", text)
	}
}
