package harness

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// names are what the world's two nameservers answer; silent.example gets no answer, and any
// other name does not exist.
var names = [2]map[string][]string{
	{
		"site.example": {"93.184.216.34", "2606:4700:4700::1111"}, "other.example": {"93.184.216.35"},
		"moved.example": {"93.184.216.34"}, "corp.example": {"10.20.30.40"}, "packages.example": {"10.20.30.41"}, "gone.example": {"93.184.216.99"},
		"six.example": {"2606:4700:4700::1111"}, "both.example": {"93.184.216.34", "10.20.30.40"},
	},
	{"site.example": {"93.184.216.34"}, "other.example": {"93.184.216.35"}, "moved.example": {"93.184.216.35"}},
}

// proxyOnly is a name that only the proxies know.
const proxyOnly = "proxy-only.example"

// serve begins the world's servers. It is called in the internet's namespace.
//
//	53    nameservers, on 192.0.2.1 and 198.51.100.53
//	80    HTTP, on all addresses: answers which one, and for which host
//	443   the same with TLS, with certificates of the world's authority
//	22    speaks first, and then says what it hears
//	3128  proxy by HTTP CONNECT; 1080 by SOCKS5
func (w *theWorld) serve() error {
	for i, addr := range []string{"192.0.2.1", "198.51.100.53"} {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(addr), Port: 53})
		if err != nil {
			return err
		}
		w.closes = append(w.closes, c)
		go serveNames(c, names[i]) // ends with c
	}
	// A client that is reset is what scripts want.
	web := &http.Server{Handler: http.HandlerFunc(serveWhere), ErrorLog: log.New(io.Discard, "", 0)}
	for port, serve := range map[int]func(net.Listener){
		80:   func(l net.Listener) { web.Serve(l) },
		443:  func(l net.Listener) { web.Serve(tls.NewListener(l, w.ca.config())) },
		22:   serveBanner,
		3128: func(l net.Listener) { w.serveProxy(l, w.connectHTTP) },
		1080: func(l net.Listener) { w.serveProxy(l, w.connectSOCKS) },
	} {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		w.closes = append(w.closes, l)
		go serve(l) // ends with l
	}
	return nil
}

func serveWhere(rw http.ResponseWriter, r *http.Request) {
	at := r.Context().Value(http.LocalAddrContextKey).(net.Addr).(*net.TCPAddr).AddrPort().Addr().Unmap()
	fmt.Fprintf(rw, "%s%s at %s\n", r.Host, r.URL.Path, at)
}

func serveNames(c *net.UDPConn, zone map[string][]string) {
	buf := make([]byte, 4096)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		q := m.Questions[0]
		name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
		if name == "silent.example" {
			continue
		}
		m.Response, m.Additionals = true, nil
		addrs, ok := zone[name]
		if !ok {
			m.RCode = dnsmessage.RCodeNameError
		}
		for _, text := range addrs {
			a, h := netip.MustParseAddr(text), dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 300}
			switch {
			case q.Type == dnsmessage.TypeA && a.Is4():
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
			case q.Type == dnsmessage.TypeAAAA && a.Is6():
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
			}
		}
		if out, err := m.Pack(); err == nil {
			c.WriteToUDPAddrPort(out, from)
		}
	}
}

// serveProxy takes clients of a proxy. greet reads what one asks for; a target that the proxy
// does not know is refused by answer's second call.
func (w *theWorld) serveProxy(l net.Listener, greet func(*bufio.ReadWriter) (target, line string, answer func(bool))) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() { // ends with either end
			defer c.Close()
			rw := bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c))
			target, line, answer := greet(rw)
			if answer == nil {
				return
			}
			w.note(line)
			host, port, _ := net.SplitHostPort(target)
			addrs := names[0][host]
			if host == proxyOnly {
				addrs = []string{"93.184.216.35"}
			}
			var up net.Conn
			if len(addrs) > 0 {
				w.inside(func() (err error) {
					up, err = net.Dial("tcp", net.JoinHostPort(addrs[0], port))
					return err
				})
			}
			answer(up != nil)
			rw.Flush()
			if up == nil {
				return
			}
			defer up.Close()
			go func() { // ends with the client
				io.Copy(up, rw)
				up.(*net.TCPConn).CloseWrite()
			}()
			io.Copy(c, up)
		}()
	}
}

// note adds a line to the proxies' log.
func (w *theWorld) note(line string) {
	f, err := os.OpenFile(w.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		fmt.Fprintln(f, line)
		f.Close()
	}
}

func (w *theWorld) connectHTTP(rw *bufio.ReadWriter) (target, line string, answer func(bool)) {
	r, err := http.ReadRequest(rw.Reader)
	if err != nil || r.Method != http.MethodConnect {
		return "", "", nil
	}
	return r.Host, fmt.Sprintf("http %s %s", r.Host, r.Header.Get("Proxy-Authorization")), func(ok bool) {
		rw.WriteString(map[bool]string{true: "HTTP/1.1 200 OK\r\n\r\n", false: "HTTP/1.1 502 Bad Gateway\r\n\r\n"}[ok])
	}
}

// connectSOCKS reads RFC 1928's greeting and request, with a name, and RFC 1929's password.
func (w *theWorld) connectSOCKS(rw *bufio.ReadWriter) (target, line string, answer func(bool)) {
	field := func(n int) string {
		b := make([]byte, n)
		io.ReadFull(rw, b)
		return string(b)
	}
	sized := func() string {
		n := field(1)
		return field(int(n[0]))
	}
	if field(1) != "\x05" {
		return "", "", nil
	}
	user := ""
	if strings.Contains(sized(), "\x02") {
		rw.WriteString("\x05\x02")
		rw.Flush()
		field(1)
		user = sized() + ":" + sized()
		rw.WriteString("\x01\x00")
	} else {
		rw.WriteString("\x05\x00")
	}
	rw.Flush()
	if kind := field(4); kind != "\x05\x01\x00\x03" {
		w.note(fmt.Sprintf("socks wants %q", kind))
		return "", "", nil
	}
	host := sized()
	target = net.JoinHostPort(host, fmt.Sprint(binary.BigEndian.Uint16([]byte(field(2)))))
	return target, "socks " + target + " " + user, func(ok bool) {
		code := map[bool]byte{true: 0, false: 4}[ok]
		rw.Write([]byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0})
	}
}

// authority signs the world's certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// newAuthority makes one, whose certificate it writes to file.
func newAuthority(file string) (*authority, error) {
	a := &authority{}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "The world's authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, a.key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	return a, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
}

// config serves the name that a client says.
func (a *authority) config() *tls.Config {
	return &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{h.ServerName},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		}
		der, err := x509.CreateCertificate(rand.Reader, leaf, a.cert, a.key.Public(), a.key)
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}, err
	}}
}
