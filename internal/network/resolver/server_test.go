package resolver

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a DNS server on loopback, over UDP and TCP on one port.
type server struct {
	addr   netip.AddrPort
	answer answerer
	mu     sync.Mutex
	asked  []dnsmessage.Question
}

// answerer returns the message for a query; nil stays silent.
type answerer func(q dnsmessage.Message, tcp bool) []byte

// serve starts a server on 127.0.0.1 that ends with the test.
func serve(t *testing.T, answer answerer) *server {
	t.Helper()
	return serveOn(t, "127.0.0.1", 0, answer)
}

// serveTwo starts a server on 127.0.0.1, and one on the same port of 127.0.0.2.
func serveTwo(t *testing.T, first, second answerer) (*server, *server) {
	t.Helper()
	s := serve(t, first)
	return s, serveOn(t, "127.0.0.2", int(s.addr.Port()), second)
}

// serveOn starts a server on ip; port 0 is any.
func serveOn(t *testing.T, ip string, port int, answer answerer) *server {
	t.Helper()
	s := &server{answer: answer}
	var udp *net.UDPConn
	var tcp *net.TCPListener
	for range 50 { // until a port is free for both
		u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(ip), Port: port})
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.ParseIP(ip), Port: u.LocalAddr().(*net.UDPAddr).Port})
		if err == nil {
			udp, tcp = u, l
			break
		}
		u.Close()
	}
	if tcp == nil {
		t.Fatal("no port is free")
	}
	s.addr = udp.LocalAddr().(*net.UDPAddr).AddrPort()
	var wg sync.WaitGroup
	wg.Add(2)
	go func() { // ends when the socket is closed
		defer wg.Done()
		buf := make([]byte, 65535)
		for {
			n, from, err := udp.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if out := s.handle(buf[:n], false); out != nil {
				udp.WriteToUDPAddrPort(out, from)
			}
		}
	}()
	go func() { // ends when the listener is closed
		defer wg.Done()
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			var size [2]byte
			if _, err := io.ReadFull(c, size[:]); err == nil {
				msg := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(c, msg); err == nil {
					if out := s.handle(msg, true); out != nil {
						c.Write(Frame(out))
					}
				}
			}
			c.Close()
		}
	}()
	t.Cleanup(func() {
		udp.Close()
		tcp.Close()
		wg.Wait()
	})
	return s
}

func (s *server) handle(msg []byte, tcp bool) []byte {
	var q dnsmessage.Message
	if q.Unpack(msg) != nil || len(q.Questions) != 1 {
		return nil
	}
	s.mu.Lock()
	s.asked = append(s.asked, q.Questions[0])
	s.mu.Unlock()
	return s.answer(q, tcp)
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

// message packs an answer to q.
func message(q dnsmessage.Message, code dnsmessage.RCode, records ...dnsmessage.Resource) []byte {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, RCode: code, RecursionAvailable: true}, Questions: q.Questions, Answers: records}
	out, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return out
}

// record makes a record from the words that a zone file has.
func record(name string, ttl uint32, kind, value string) dnsmessage.Resource {
	r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: ttl}}
	switch kind {
	case "A":
		r.Header.Type, r.Body = dnsmessage.TypeA, &dnsmessage.AResource{A: netip.MustParseAddr(value).As4()}
	case "AAAA":
		r.Header.Type, r.Body = dnsmessage.TypeAAAA, &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(value).As16()}
	case "CNAME":
		r.Header.Type, r.Body = dnsmessage.TypeCNAME, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(value)}
	case "MX":
		r.Header.Type, r.Body = dnsmessage.TypeMX, &dnsmessage.MXResource{Pref: 10, MX: dnsmessage.MustNewName(value)}
	case "SRV":
		r.Header.Type, r.Body = dnsmessage.TypeSRV, &dnsmessage.SRVResource{Port: 5222, Target: dnsmessage.MustNewName(value)}
	case "TXT":
		r.Header.Type, r.Body = dnsmessage.TypeTXT, &dnsmessage.TXTResource{TXT: []string{value}}
	default:
		panic(kind)
	}
	return r
}

// zone answers from records: those of the name and type, through aliases.
func zone(records ...dnsmessage.Resource) answerer {
	return func(q dnsmessage.Message, _ bool) []byte {
		name, known := Clean(q.Questions[0].Name.String()), false
		for _, r := range records {
			known = known || Clean(r.Header.Name.String()) == name
		}
		if !known {
			return message(q, dnsmessage.RCodeNameError)
		}
		_, picked, err := follow(name, q.Questions[0].Type, records)
		if err != nil {
			return message(q, dnsmessage.RCodeServerFailure)
		}
		return message(q, dnsmessage.RCodeSuccess, picked...)
	}
}

// host returns a Host that has files of its own and no bus.
func host(t *testing.T, s *server, resolvConf, hosts string) *Host {
	t.Helper()
	dir := t.TempDir()
	h := &Host{ResolvConf: filepath.Join(dir, "resolv.conf"), Hosts: filepath.Join(dir, "hosts"), Bus: "unix:path=" + filepath.Join(dir, "no-bus"), Port: s.addr.Port()}
	write(t, h.ResolvConf, resolvConf)
	write(t, h.Hosts, hosts)
	t.Cleanup(h.Close)
	return h
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// lines are a result's records, one a line.
func lines(res Result) string {
	var out []string
	for _, r := range res.Records {
		out = append(out, line(r))
	}
	return strings.Join(out, "\n")
}

func line(r dnsmessage.Resource) string {
	name := r.Header.Name.String() + " " + typeName(r.Header.Type) + " "
	switch b := r.Body.(type) {
	case *dnsmessage.AResource:
		return name + netip.AddrFrom4(b.A).String()
	case *dnsmessage.AAAAResource:
		return name + netip.AddrFrom16(b.AAAA).String()
	case *dnsmessage.CNAMEResource:
		return name + b.CNAME.String()
	case *dnsmessage.MXResource:
		return name + b.MX.String()
	case *dnsmessage.SRVResource:
		return name + b.Target.String()
	case *dnsmessage.PTRResource:
		return name + b.PTR.String()
	case *dnsmessage.TXTResource:
		return name + strings.Join(b.TXT, "|")
	}
	return name + "?"
}

var errNobody = errors.New("nobody can tell")
