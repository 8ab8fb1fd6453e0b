package egress

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
)

// all reads a flow to its end.
func all(t *testing.T, f *flow.Flow) string {
	t.Helper()
	text, err := io.ReadAll(struct{ io.Reader }{f})
	if err != nil {
		t.Errorf("read: %v, after %q", err, text)
	}
	return string(text)
}

func mustWrite(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Errorf("write %q: %v", text, err)
	}
}

// both runs f under a policy that does not judge first bytes, and under one that does.
func both(t *testing.T, f func(t *testing.T, w *world)) {
	for _, rules := range []string{"public", "public --deny bad.example"} {
		t.Run(rules, func(t *testing.T) { f(t, newWorld(t, setup{policy: rules})) })
	}
}

func TestEcho(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		for _, a := range []netip.Addr{publicAddr, public6Addr} {
			f := w.mustConnect(serve(t, a, 0, echo))
			mustWrite(t, f, "hello\n")
			f.CloseWrite()
			if got := all(t, f); got != "hello\n" {
				t.Errorf("%s: %q came back", a, got)
			}
		}
		w.idle()
	})
}

func TestHTTP(t *testing.T) {
	w := newWorld(t, setup{policy: "public"})
	addr := serve(t, publicAddr, 0, func(c *net.TCPConn) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err == nil {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(r.Host), r.Host)
		}
	})
	f := w.mustConnect(addr)
	mustWrite(t, f, "GET / HTTP/1.1\r\nHost: site.example\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(f), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || string(body) != "site.example" {
		t.Errorf("the body is %q, %v", body, err)
	}
}

// certificate is one for example.com that a client of pool takes.
func certificate(t *testing.T) (*tls.Config, *tls.Config) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	trust := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	trust.ServerName = "example.com"
	return &tls.Config{Certificates: s.TLS.Certificates}, trust
}

func TestTLS(t *testing.T) {
	server, trust := certificate(t)
	w := newWorld(t, setup{policy: "deny --allow example.com"})
	addr := serve(t, publicAddr, 443, func(c *net.TCPConn) {
		s := tls.Server(c, server)
		if _, err := io.Copy(s, s); err == nil {
			s.CloseWrite()
		}
	})
	w.dns.set("example.com", publicAddr)
	if got := w.resolve("example.com"); got != publicAddr {
		t.Fatalf("the name has the address %s", got)
	}
	c := tls.Client(client{w.mustConnect(addr)}, trust)
	mustWrite(t, c, "secret")
	c.CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "secret" {
		t.Errorf("%q came back, %v", got, err)
	}
}

// The server speaks first; the first bytes of neither are TLS or HTTP.
func TestServerFirst(t *testing.T) {
	for _, rules := range []string{"public", "deny --allow site.example:22", "public --deny bad.example"} {
		t.Run(rules, func(t *testing.T) {
			const greeting = "220 mail.example ESMTP\r\n"
			w := newWorld(t, setup{policy: rules})
			w.dns.set("site.example", publicAddr)
			w.resolve("site.example")
			addr := serve(t, publicAddr, 22, func(c *net.TCPConn) {
				io.WriteString(c, greeting)
				line, _ := bufio.NewReader(c).ReadString('\n')
				io.WriteString(c, "you said "+line)
			})
			f := w.mustConnect(addr)
			got := make([]byte, len(greeting))
			if _, err := io.ReadFull(f, got); err != nil || string(got) != greeting {
				t.Fatalf("the greeting is %q, %v", got, err)
			}
			mustWrite(t, f, "EHLO me\n")
			if got := all(t, f); got != "you said EHLO me\n" {
				t.Errorf("the answer is %q", got)
			}
			f.CloseWrite()
			w.idle()
		})
	}
}

// PostgreSQL: the client speaks first, asks for TLS, and goes on with it.
func TestPostgreSQL(t *testing.T) {
	server, trust := certificate(t)
	w := newWorld(t, setup{policy: "deny --allow example.com:5432"})
	w.dns.set("example.com", publicAddr)
	w.resolve("example.com")
	sslRequest := []byte{0, 0, 0, 8, 4, 210, 22, 47}
	addr := serve(t, publicAddr, 5432, func(c *net.TCPConn) {
		got := make([]byte, len(sslRequest))
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sslRequest) {
			return
		}
		c.Write([]byte("S"))
		s := tls.Server(c, server)
		io.WriteString(s, "ready")
		s.CloseWrite()
	})
	f := w.mustConnect(addr)
	if _, err := f.Write(sslRequest); err != nil {
		t.Fatal(err)
	}
	var yes [1]byte
	if _, err := io.ReadFull(f, yes[:]); err != nil || yes[0] != 'S' {
		t.Fatalf("the answer is %q, %v", yes, err)
	}
	if got, err := io.ReadAll(tls.Client(client{f}, trust)); err != nil || string(got) != "ready" {
		t.Errorf("%q came, %v", got, err)
	}
}

// Each way ends alone.
func TestHalfClose(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		f := w.mustConnect(serve(t, publicAddr, 0, func(c *net.TCPConn) {
			got, err := io.ReadAll(c)
			fmt.Fprintf(c, "%s %v", got, err)
		}))
		mustWrite(t, f, "all")
		f.CloseWrite()
		if got := all(t, f); got != "all <nil>" {
			t.Errorf("the server got %q", got)
		}
		said := make(chan string, 1)
		f = w.mustConnect(serve(t, publicAddr, 0, func(c *net.TCPConn) {
			io.WriteString(c, "bye")
			c.CloseWrite()
			got, err := io.ReadAll(c)
			said <- fmt.Sprint(string(got), err)
		}))
		if got := all(t, f); got != "bye" {
			t.Errorf("the guest got %q", got)
		}
		mustWrite(t, f, "late")
		f.CloseWrite()
		if got := <-said; got != "late<nil>" {
			t.Errorf("after its end the server got %q", got)
		}
		w.idle()
	})
}

func TestReset(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		f := w.mustConnect(serve(t, publicAddr, 0, func(c *net.TCPConn) {
			io.ReadFull(c, make([]byte, 3))
			c.SetLinger(0) // a reset
		}))
		mustWrite(t, f, "hi\x00")
		if got, err := io.ReadAll(struct{ io.Reader }{f}); !errors.Is(err, flow.ErrReset) {
			t.Errorf("after the server's reset: %q, %v, want %v", got, err, flow.ErrReset)
		}
		said, got := make(chan error, 1), make(chan struct{})
		f = w.mustConnect(serve(t, publicAddr, 0, func(c *net.TCPConn) {
			io.ReadFull(c, make([]byte, 3))
			close(got)
			_, err := c.Read(make([]byte, 1))
			said <- err
		}))
		mustWrite(t, f, "hi\x00")
		<-got
		f.Reset()
		if err := <-said; !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("after the guest's reset the server reads %v, want %v", err, unix.ECONNRESET)
		}
		w.idle()
	})
}

func TestNoConnection(t *testing.T) {
	w := newWorld(t, setup{policy: "public"})
	w.g.dialer.Limit = time.Second
	w.refused(netip.AddrPortFrom(publicAddr, 9), netflow.Refused, "refused")
	w.refused(netip.AddrPortFrom(goneAddr, 443), netflow.Unreachable, "unreachable")
	w.refused(netip.MustParseAddrPort("[2606:4700::9]:443"), netflow.Unreachable, "unreachable")
	w.refused(silent(t), netflow.Unreachable, "")
	for _, header := range []string{"", "{", `{"kind":"what"}`, `{"kind":"connect"}`, `{"kind":"connect","addr":"93.184.216.34:0"}`} {
		f, err := w.guest.Open(limited(t), []byte(header))
		var r *flow.RefusedError
		if !errors.As(err, &r) {
			t.Errorf("open %q: %v, %v", header, f, err)
		}
	}
	w.idle()
}

// silent is a port that answers no SYN: its queue is full.
func silent(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: publicAddr.As4()}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	to := netip.AddrPortFrom(publicAddr, uint16(sa.(*unix.SockaddrInet4).Port))
	for range 3 {
		if c, err := net.DialTimeout("tcp", to.String(), 300*time.Millisecond); err == nil {
			t.Cleanup(func() { c.Close() })
		}
	}
	return to
}

func TestSlowPeers(t *testing.T) {
	w := newWorld(t, setup{policy: "public --deny bad.example"})
	quiet := w.mustConnect(serve(t, publicAddr, 0, func(c *net.TCPConn) { c.Read(make([]byte, 1)) }))
	f := w.mustConnect(serve(t, publicAddr, 0, func(c *net.TCPConn) {
		for _, b := range []byte("drops") {
			c.Write([]byte{b})
			time.Sleep(20 * time.Millisecond)
		}
	}))
	if got := all(t, f); got != "drops" {
		t.Errorf("of a server that dribbles %q came", got)
	}
	f.CloseWrite()
	f = w.mustConnect(serve(t, publicAddr, 0, func(*net.TCPConn) {}))
	if got := all(t, f); got != "" {
		t.Errorf("of a server that closes at once %q came", got)
	}
	f.CloseWrite()
	quiet.Reset()
	w.idle()
}

// A guest that writes and a server that does not read until it has written.
func TestBothWrite(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		const size = 8 << 20
		f := w.mustConnect(serve(t, publicAddr, 0, func(c *net.TCPConn) {
			io.ReadFull(c, make([]byte, 4))
			c.Write(make([]byte, size))
			io.Copy(io.Discard, c)
		}))
		var writing sync.WaitGroup
		writing.Go(func() {
			f.Write(make([]byte, size))
			f.CloseWrite()
		})
		if n, err := io.Copy(io.Discard, struct{ io.Reader }{f}); n != size || err != nil {
			t.Errorf("%d bytes came, %v", n, err)
		}
		writing.Wait()
	})
}

func TestTransfer(t *testing.T) {
	w := newWorld(t, setup{policy: "public --deny bad.example"})
	data := make([]byte, 20<<20)
	rand.Read(data)
	want := sha256.Sum256(data)
	f := w.mustConnect(serve(t, publicAddr, 0, func(c *net.TCPConn) { c.Write(data) }))
	down := sha256.New()
	if _, err := io.Copy(down, f); err != nil || !bytes.Equal(down.Sum(nil), want[:]) {
		t.Errorf("download: %x, %v, want %x", down.Sum(nil), err, want)
	}
	f = w.mustConnect(serve(t, publicAddr, 0, func(c *net.TCPConn) {
		up := sha256.New()
		io.Copy(up, c)
		fmt.Fprintf(c, "%x", up.Sum(nil))
	}))
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	f.CloseWrite()
	if got := all(t, f); got != hex.EncodeToString(want[:]) {
		t.Errorf("upload: %s, want %x", got, want)
	}
}

func TestThousand(t *testing.T) {
	w := newWorld(t, setup{policy: "public --deny bad.example"})
	addr := serve(t, publicAddr, 0, echo)
	var next atomic.Int64
	var working sync.WaitGroup
	for range 64 {
		working.Go(func() {
			for n := next.Add(1); n <= 1000; n = next.Add(1) {
				f, err := w.connect(addr)
				if err != nil {
					t.Errorf("connection %d: %v", n, err)
					continue
				}
				text := fmt.Sprintf("connection %d\n", n)
				mustWrite(t, f, text)
				f.CloseWrite()
				if got := all(t, f); got != text {
					t.Errorf("connection %d: %q", n, got)
				}
			}
		})
	}
	working.Wait()
	w.idle()
}

// A guest that gives up ends the host's connect.
func TestGivesUp(t *testing.T) {
	w := newWorld(t, setup{policy: "public"})
	ctx, cancel := context.WithCancel(limited(t))
	to := silent(t)
	started := time.Now()
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err := w.guest.Open(ctx, netflow.Request{Kind: netflow.Connect, Addr: to}.Marshal()); !errors.Is(err, context.Canceled) {
		t.Errorf("open: %v, want %v", err, context.Canceled)
	}
	w.until("the connect has ended", func() bool { return len(w.g.dials) == 0 })
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("the host's connect has ended after %s only", took)
	}
}

func TestCloseEndsAll(t *testing.T) {
	w := newWorld(t, setup{policy: "public"})
	addr := serve(t, publicAddr, 0, func(c *net.TCPConn) { c.Read(make([]byte, 1)) })
	f := w.mustConnect(addr)
	dns, err := w.open(netflow.Request{Kind: netflow.DNS, TCP: true})
	if err != nil {
		t.Fatal(err)
	}
	w.g.Close()
	for _, f := range []*flow.Flow{f, dns} {
		if _, err := f.Read(make([]byte, 1)); !errors.Is(err, flow.ErrReset) {
			t.Errorf("after Close: %v, want %v", err, flow.ErrReset)
		}
	}
	w.refused(addr, netflow.Unreachable, "")
	w.idle()
}

// Whatever a guest that speaks the channel itself says in a flow's header, it has an answer.
func TestOddHeaders(t *testing.T) {
	w := newWorld(t, setup{policy: "public --deny bad.example"})
	w.dns.set("bad.example", otherAddr)
	addrs := []string{"", "93.184.216.34:80", "93.184.216.34:0", "[::ffff:93.184.216.34]:443", "[fe80::1%a<b]:443", "[::1%x]:0", "[2001:db8::1]:53",
		"0.0.0.0:1", "[::]:65535", "10.0.2.2:22", "198.18.0.1:443", "255.255.255.255:123", "[fe80::1%" + strings.Repeat("<", 500) + "]:1"}
	var asking sync.WaitGroup
	room := make(chan struct{}, 32)
	for _, kind := range []string{"", netflow.Connect, netflow.DNS, netflow.Ping, netflow.Note, netflow.Listener, netflow.Denial} {
		for _, addr := range addrs {
			for _, from := range addrs {
				header := fmt.Sprintf(`{"kind":%q,"addr":%q,"from":%q,"proto":"\u001b","tcp":true,"text":"x"}`, kind, addr, from)
				room <- struct{}{}
				asking.Go(func() {
					defer func() { <-room }()
					f, err := w.guest.Open(limited(t), []byte(header)[:min(len(header), flow.MaxHeader)])
					if err == nil {
						f.Reset()
					} else if refusal(err) == 0 {
						t.Errorf("%.200s: %v", header, err)
					}
				})
			}
		}
	}
	asking.Wait()
	w.idle()
}
