package policy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
)

// hello is the ClientHello that Go's client sends for a name.
func hello(t testing.TB, name string) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { // ends when the pipe is closed
		defer close(done)
		tls.Client(client, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}}).HandshakeContext(ctx)
		client.Close()
	}()
	defer func() { cancel(); <-done }()
	server.SetReadDeadline(time.Now().Add(time.Minute))
	head := make([]byte, 5)
	if _, err := io.ReadFull(server, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(server, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}

// records cuts a handshake message anew, into records of n bytes.
func records(message []byte, n int) []byte {
	var out []byte
	for part := range slices.Chunk(message, n) {
		out = append(out, recordHandshake, 3, 1, byte(len(part)>>8), byte(len(part)))
		out = append(out, part...)
	}
	return out
}

// extension is one with its length.
func extension(kind int, body []byte) []byte {
	return append([]byte{byte(kind >> 8), byte(kind), byte(len(body) >> 8), byte(len(body))}, body...)
}

func sni(name string) []byte {
	n := len(name)
	return extension(extServerName, append([]byte{byte((n + 3) >> 8), byte(n + 3), nameTypeHost, byte(n >> 8), byte(n)}, name...))
}

// handshake is a ClientHello with these extensions, as its one record.
func handshake(extensions ...[]byte) []byte {
	e := bytes.Join(extensions, nil)
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, 0, 0, 2, 0x13, 1, 1, 0, byte(len(e)>>8), byte(len(e)))
	body = append(body, e...)
	return append([]byte{handshakeHello, 0, byte(len(body) >> 8), byte(len(body))}, body...)
}

func TestReadClientHello(t *testing.T) {
	ours := hello(t, "www.example.org")
	whole := Said{Kind: TLS, Names: []string{"www.example.org"}, Complete: true}
	padding := extension(21, make([]byte, 2000))
	for name, c := range map[string]struct {
		b    []byte
		want Said
	}{
		"Go's":                      {ours, whole},
		"bytes of a record each":    {records(ours[5:], 1), whole},
		"records of 100":            {records(ours[5:], 100), whole},
		"something after it":        {append(slices.Clone(ours), "more"...), whole},
		"a name after byte 1,024":   {records(handshake(padding, sni("www.example.org")), maxRecord), whole},
		"a name before the padding": {records(handshake(sni("www.example.org"), padding), 500), whole},
		"no name":                   {records(handshake(padding), maxRecord), Said{Kind: TLS, Complete: true}},
		"no extensions":             {records(handshake()[:4+2+32+1+4+2], maxRecord), Said{Kind: TLS}},
		"two extensions of names":   {records(handshake(sni("a.example"), sni("b.example")), maxRecord), broken("its server_name is not one name")},
		"two names in one": {records(handshake(extension(0, []byte{0, 8, 0, 0, 1, 'a', 0, 0, 1, 'b'})), maxRecord),
			broken("its server_name is not one name")},
		"an empty name":                       {records(handshake(sni("")), maxRecord), broken("its server_name is not one name")},
		"a name with NUL":                     {records(handshake(sni("a\x00.example")), maxRecord), Said{Kind: TLS, Names: []string{"a\x00.example"}, Complete: true}},
		"an alert before it":                  {append([]byte{21, 3, 1, 0, 2, 1, 0}, ours...), broken("it does not begin with a ClientHello")},
		"an empty record":                     {append([]byte{22, 3, 1, 0, 0}, ours...), broken("a record has 0 bytes")},
		"a record that is long":               {[]byte{22, 3, 1, 0xff, 0xff, 1}, broken("a record has 65535 bytes")},
		"another message":                     {[]byte{22, 3, 1, 0, 4, 2, 0, 0, 0}, broken("its first message is no ClientHello")},
		"a message that is long":              {[]byte{22, 3, 1, 0, 4, 1, 0xff, 0, 0}, broken("it has more than 16 KiB")},
		"cut inside":                          {records([]byte{1, 0, 0, 10, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0}, 100), broken("its ClientHello is cut off")},
		"another version":                     {[]byte{22, 16, 9, 0}, Said{Kind: Other, Complete: true}},
		"the record type only":                {[]byte{22}, Said{Kind: TLS}},
		"an alert only":                       {[]byte{21, 3}, Said{Kind: TLS}},
		"SSL 2":                               {[]byte{0x80, 0x2e, 1, 3, 1}, Said{Kind: TLS, Complete: true}},
		"SSL 2, begun":                        {[]byte{0x80, 0x2e}, Said{}},
		"a number of another protocol":        {[]byte{22, 1, 0, 0, 9, 2, 0, 0}, Said{Kind: Other, Complete: true}},
		"a number that may begin a hello":     {[]byte{22, 1, 0, 0, 9}, Said{Kind: TLS}},
		"a hello of another protocol's size":  {[]byte{22, 1, 0, 0, 9, 1, 7}, Said{Kind: Other, Complete: true}},
		"a large hello of an unknown version": {[]byte{22, 1, 0, 0, 9, 1, 0, 0xff, 0xff}, broken("it has more than 16 KiB")},
		"a warning of an unknown version":     {[]byte{21, 1, 0, 0, 2, 1, 100}, broken("it does not begin with a ClientHello")},
		"a message of another protocol":       {[]byte{21, 1, 0, 0, 3, 1, 100}, Said{Kind: Other, Complete: true}},
		"data of an unknown version":          {[]byte{23, 1}, Said{Kind: Other, Complete: true}},
		"like SSL 2":                          {[]byte{0x80, 0x2e, 9, 3}, Said{Kind: Other, Complete: true}},
		"data between records":                {append(records(ours[5:50], 100), 23, 3, 1, 0, 1, 0), broken("it does not begin with a ClientHello")},
	} {
		if got := Read(c.b); !same(got, c.want) {
			t.Errorf("%s: Read = %+v, want %+v", name, got, c.want)
		}
	}
	// Segments: whatever has come is not enough, but the whole is.
	for n := range ours {
		if got := Read(ours[:n]); got.Complete || len(got.Names) > 0 {
			t.Fatalf("Read of %d bytes of %d = %+v", n, len(ours), got)
		}
		if got := Read(ours[:n]).End(); n > 0 && (got.Broken == "" || !got.Complete) {
			t.Fatalf("End after %d bytes of %d = %+v", n, len(ours), got)
		}
	}
}

func broken(why string) Said { return Said{Kind: TLS, Complete: true, Broken: why} }

func same(a, b Said) bool {
	return a.Kind == b.Kind && slices.Equal(a.Names, b.Names) && a.Complete == b.Complete && a.Broken == b.Broken && (b.Pass == 0 || a.Pass == b.Pass)
}

func TestReadHTTP(t *testing.T) {
	names := func(n ...string) Said { return Said{Kind: HTTP, Names: n, Complete: true} }
	wrong := func(why string) Said { return Said{Kind: HTTP, Complete: true, Broken: why} }
	other := Said{Kind: Other, Complete: true}
	const middle = "its header has a line that ends in the middle"
	const host = "its target has no host"
	const first = "its first line is not METHOD TARGET VERSION"
	for text, want := range map[string]Said{
		"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n":                                names("example.org"),
		"GET / HTTP/1.1\nhost:example.org:8080\n\nbody":                              names("example.org"),
		"PROPFIND / HTTP/1.1\r\nA: b\r\nHOST \t:  example.org \t\r\n\r\n":            names("example.org"),
		"\r\n\r\n  GET / HTTP/1.1\r\nHost: example.org\r\n\r\n":                      names("example.org"),
		"GET / HTTP/1.1\r\n\r\n":                                                     names(),
		"GET / HTTP/1.0\r\nA: b\r\n\r\n":                                             names(),
		"GET / HTTP/1.1\r\nHost:\r\n\r\n":                                            names(),
		"GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n":               names("a.example", "b.example"),
		"GET / HTTP/1.1\r\n Host: b.example\r\nHost: a.example\r\n\r\n":              names("b.example", "a.example"),
		"GET http://b.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n":                 names("b.example", "a.example"),
		"GET HTTP://u:p@b.example:80?x HTTP/1.1\r\nHost: a.example\r\n\r\n":          names("b.example", "a.example"),
		"GET http://b.example HTTP/1.1\r\n\r\n":                                      names("b.example"),
		"CONNECT b.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n":                  names("b.example", "a.example"),
		"OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n":                              names("a.example"),
		"GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n":                       names("a.example, b.example"),
		"GET / HTTP/1.1\r\nHost: [2606:4700::1]:80\r\n\r\n":                          names("[2606:4700::1]"),
		"get / http/1.1\r\nHost: a.example\r\n\r\n":                                  names("a.example"),
		"GET / HTTP/1.1\r\nHost: a.example\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n": names("a.example"),
		"GET /\x01 HTTP/1.1\r\nHost: a.example\r\n\r\n":                              wrong(first),
		"GET / HTTP/1.1\r\nHost: a.example\r\n b.example\r\n\r\n":                    wrong("its Host goes on in the next line"),
		"GET / HTTP/1.1\r\nX: y\rHost: b.example\r\n\r\n":                            wrong(middle),
		"GET / HTTP/1.1\rHost: b.example\r\n\r\n":                                    wrong(first),
		"GET / HTTP/1.1\r\nX: \x00\r\n\r\n":                                          wrong(middle),
		"GET /a b HTTP/1.1\r\n\r\n":                                                  wrong(first),
		"GET\v/ HTTP/1.1\r\nHost: b.example\r\n\r\n":                                 wrong(first),
		"GET\f/\fHTTP/1.1\r\nHost: b.example\r\n\r\n":                                wrong(first),
		"GET HTTP/1.1\r\n\r\n":                                                       wrong(first),
		"GET b.example/x HTTP/1.1\r\n\r\n":                                           wrong("its target is neither a path nor a URL"),
		"GET http:/b.example HTTP/1.1\r\n\r\n":                                       wrong("its target is neither a path nor a URL"),
		"GET http:///b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n":                 wrong(host),
		"CONNECT b.example:443@a.example:443 HTTP/1.1\r\n\r\n":                       names("b.example:443@a.example"),
		"GET / HTTP/1.1\r\nHost: a.example\r\nHost: :80\r\n\r\n":                     names("a.example", ""),
		"CONNECT :443 HTTP/1.1\r\nHost: a.example\r\n\r\n":                           wrong(host),
		"GET http://:80/b.example HTTP/1.1\r\nHost: a.example\r\n\r\n":               wrong(host),
		"GET http://u@/b.example HTTP/1.1\r\nHost: a.example\r\n\r\n":                wrong(host),
		"GET http://b.example\\@a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n":      names(`b.example\@a.example`, "a.example"),
		"GET /\r\n":                              names(),
		"GET http://a.example/\r\n":              names(),
		"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n":     other,
		"EHLO example.org\r\n":                   other,
		"*1\r\n$4\r\nPING\r\n":                   other,
		"PING\r\n":                               other,
		"get key\r\n":                            other,
		"a1 LOGIN user\r\n":                      other,
		"DESCRIBE rtsp://a.example RTSP/1.0\r\n": other,
		"0032git-upload-pack /p\x00host=a\x00":   other,
		"\x00\x00\x00\x08\x04\xd2\x16\x2f":       other,
		"{\"a\": 1}\n":                           other,
	} {
		if got := Read([]byte(text)); !same(got, want) {
			t.Errorf("Read(%q) = %+v, want %+v", text, got, want)
		}
	}
	for text, want := range map[string]uint16{
		"CONNECT b.example:443 HTTP/1.1\r\n\r\n": 443, "GET http://b.example/x HTTP/1.1\r\n\r\n": 80, "GET HTTPS://b.example HTTP/1.1\r\n\r\n": 443,
		"GET http://u:1@b.example:8080/ HTTP/1.1\r\n\r\n": 8080, "GET http://[2606:4700::1]:81/ HTTP/1.1\r\n\r\n": 81, "CONNECT b.example HTTP/1.1\r\n\r\n": 0,
		"GET http://b.example:99999/ HTTP/1.1\r\n\r\n": 0, "GET ftp://b.example/ HTTP/1.1\r\n\r\n": 0, "GET / HTTP/1.1\r\nHost: b.example:82\r\n\r\n": 0,
	} {
		if got := Read([]byte(text)).Asked; got != want {
			t.Errorf("Read(%q) asks for port %d, want %d", text, got, want)
		}
	}
	for _, text := range []string{"G", "GET", "GET ", "GET / HTTP/1.1", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a.example\r\n", "PRI", "\r\n", "P", "PING", strings.Repeat("A", 1000)} {
		got := Read([]byte(text))
		if got.Complete {
			t.Errorf("Read(%q) = %+v, want more", text, got)
		}
		if end := got.End(); !end.Complete || end.Broken == "" {
			t.Errorf("End after %q = %+v, want broken", text, end)
		}
	}
	long := "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", MaxFirst) + "\r\nHost: a.example\r\n\r\n"
	if got, want := Read([]byte(long)), wrong("it has more than 16 KiB"); !same(got, want) {
		t.Errorf("Read of a long header = %+v, want %+v", got, want)
	}
}

// What Go's client sends is read.
func TestReadGoRequest(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	said := make(chan Said, 1)
	go func() { // ends with the connection that the client makes, or the listener
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		var all []byte
		for buf := make([]byte, 100); ; {
			n, err := c.Read(buf)
			all = append(all, buf[:n]...)
			if s := Read(all); s.Complete || err != nil {
				said <- s
				return
			}
		}
	}()
	var h2 http.Protocols
	h2.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &h2}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequest("GET", "http://"+l.Addr().String()+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "example.org:8080"
	if resp, err := transport.RoundTrip(req); err == nil {
		resp.Body.Close()
	}
	if got, want := <-said, (Said{Kind: HTTP2, Names: []string{"example.org"}, Complete: true}); !same(got, want) {
		t.Errorf("Go's HTTP/2 client: Read = %+v, want %+v", got, want)
	}
}

func frame(kind, flags byte, id byte, body []byte) []byte {
	return append([]byte{byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body)), kind, flags, 0, 0, 0, id}, body...)
}

func TestReadHTTP2(t *testing.T) {
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, f := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":authority", Value: "a.example:80"}, {Name: "host", Value: "b.example"}} {
		if err := e.WriteField(f); err != nil {
			t.Fatal(err)
		}
	}
	headers := block.Bytes()
	join := func(frames ...[]byte) []byte { return append([]byte(preface), bytes.Join(frames, nil)...) }
	settings := frame(frameSettings, 0, 0, make([]byte, 6))
	both := Said{Kind: HTTP2, Names: []string{"a.example", "b.example"}, Complete: true}
	wrong := func(why string) Said { return Said{Kind: HTTP2, Complete: true, Broken: why} }
	for name, c := range map[string]struct {
		b    []byte
		want Said
	}{
		"preface":      {join(), Said{Kind: HTTP2, Pass: len(preface)}},
		"settings":     {join(settings), Said{Kind: HTTP2, Pass: len(preface) + 15}},
		"half a frame": {join(settings, settings[:10]), Said{Kind: HTTP2, Pass: len(preface) + 15}},
		"request":      {join(settings, frame(frameWindow, 0, 0, make([]byte, 4)), frame(frameHeaders, flagEndHeaders, 1, headers)), both},
		"padded": {join(settings, frame(frameHeaders, flagEndHeaders|flagPadded|flagPriority, 1,
			slices.Concat([]byte{3, 0, 0, 0, 0, 9}, headers, make([]byte, 3)))), both},
		"continued":                 {join(settings, frame(frameHeaders, 0, 1, headers[:4]), frame(frameContinuation, flagEndHeaders, 1, headers[4:])), both},
		"not yet continued":         {join(settings, frame(frameHeaders, 0, 1, headers[:4])), Said{Kind: HTTP2, Pass: len(preface) + 15}},
		"continued by another":      {join(settings, frame(frameHeaders, 0, 1, headers[:4]), settings), wrong("its first frames are not settings and a request")},
		"data before":               {join(settings, frame(0, 0, 1, nil)), wrong("its first frames are not settings and a request")},
		"padding beyond its end":    {join(settings, frame(frameHeaders, flagEndHeaders|flagPadded, 1, []byte{9})), wrong("its HEADERS are cut off")},
		"headers that are no HPACK": {join(settings, frame(frameHeaders, flagEndHeaders, 1, []byte{0xff})), wrong("its HEADERS can't be decoded")},
		"a frame that is long":      {join([]byte{1, 0, 0, 4, 0, 0, 0, 0, 0}), wrong("a frame has more than 16 KiB")},
	} {
		if got := Read(c.b); !same(got, c.want) {
			t.Errorf("%s: Read = %+v, want %+v", name, got, c.want)
		}
	}
}

func TestServerFirst(t *testing.T) {
	if got := (Said{}).End(); got.Broken == "" {
		t.Errorf("End of nothing = %+v, want broken: it may still begin", got)
	}
	if got := ServerFirst(); got.Kind != Other || !got.Complete {
		t.Errorf("ServerFirst() = %+v", got)
	}
}

// Whatever version a record says: a name that a server reads is one that is judged. Go's
// server takes every record version below 16.0, and passes over a warning.
func TestReadWhatServersRead(t *testing.T) {
	warning := func(major byte) []byte { return []byte{21, major, 1, 0, 2, 1, 100} }
	read := 0
	for _, major := range []byte{0, 1, 2, 3, 4, 15, 16, 255} {
		for what, before := range map[string][]byte{"": nil, " after a warning": warning(major), " after two": append(warning(major), warning(3)...)} {
			for _, size := range []int{maxRecord, 1, 40} {
				first := records(hello(t, "evil.example")[5:], size)
				for at := 0; at < len(first); at += 5 + int(first[at+3])<<8 + int(first[at+4]) {
					first[at+1] = major
				}
				first = append(slices.Clone(before), first...)
				if serverReads(t, first) != "evil.example" {
					continue
				}
				read++
				if s := Read(first); s.Kind != TLS || s.Broken == "" && !slices.Equal(s.Names, []string{"evil.example"}) {
					t.Errorf("version %d%s, records of %d bytes: Read = %+v, and a server reads evil.example", major, what, size, s)
				}
			}
		}
	}
	if read < 8 {
		t.Errorf("the server read %d of the hellos: the test shows nothing", read)
	}
}

// serverReads is the name that Go's TLS server reads in a client's first bytes.
func serverReads(t *testing.T, first []byte) (name string) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	stop := errors.New("read")
	server := tls.Server(b, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		name = h.ServerName
		return nil, stop
	}})
	var running sync.WaitGroup
	running.Go(func() { // ends when a is closed, or earlier
		server.Handshake()
		b.Close()
	})
	running.Go(func() { io.Copy(io.Discard, a) }) // ends when a is closed
	a.Write(first)
	a.Close()
	running.Wait()
	return name
}

func FuzzRead(f *testing.F) {
	f.Add(hello(f, "example.org"))
	f.Add(records(handshake(sni("a.example"), sni("b.example")), 7))
	f.Add([]byte("GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n"))
	f.Add(append([]byte(preface), frame(frameHeaders, flagEndHeaders, 1, []byte{0x82, 0x41, 1, 'a'})...))
	f.Add([]byte{0x80, 0x2e, 1, 3, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		whole := Read(b)
		if whole.Pass > len(b) {
			t.Fatalf("Read(%q) passes %d of %d bytes", b, whole.Pass, len(b))
		}
		if len(b) >= MaxFirst && !whole.Complete {
			t.Fatalf("Read of %d bytes asks for more", len(b))
		}
		if end := whole.End(); !end.Complete {
			t.Fatalf("End of %+v is not complete", whole)
		}
		// What was complete stays as it is, however the bytes come.
		for _, n := range []int{1, len(b) / 3, len(b) - 1} {
			if n < 1 || n >= len(b) {
				continue
			}
			part := Read(b[:n])
			if bothBroken := part.Broken != "" && whole.Broken != ""; part.Complete && !bothBroken && !same(part, whole) {
				t.Fatalf("Read(%q) = %+v, but of %d bytes %+v", b, whole, n, part)
			} else if part.Pass > whole.Pass && whole.Broken == "" {
				t.Fatalf("Read(%q) passes %d bytes, but of %d bytes %d", b, whole.Pass, n, part.Pass)
			}
		}
		// No name that is said gets by.
		j := New(Policy{Profile: DenyAll, Rules: []Rule{{Allow, Pattern{Kind: Exact, Name: "example.org"}, Origin{Source: FromFlag}}}}, lan{})
		q := Question{Names: []string{"example.org"}, Addr: v4([]byte{93, 184, 216, 34}), Port: 443, Proto: TCP}
		if v := j.Heard(q, j.Judge(q), whole); v.Allow && whole.Kind != Other {
			for _, n := range whole.Names {
				if name, err := canonical(n); err != nil || name != "example.org" {
					t.Fatalf("a connection that says %q passes", whole.Names)
				}
			}
			if len(whole.Names) == 0 {
				t.Fatalf("a connection of %s that says no name passes", whole.Kind)
			}
		}
	})
}
