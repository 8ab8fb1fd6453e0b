package harness

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// serve starts servers on the host's loopback, which end with the script. The kinds are
//
//	http    answers a GET with its path, a PUT with the number of bytes, and /bytes/N with so many
//	banner  speaks first, a line, and then says what it hears
//	sink    speaks first, a line, and puts into $WORK/sink how each connection ends
//	closed  nobody: the port was free a moment ago
//
// and, for the clients of a day's work in a guest,
//
//	files     $WORK/files by HTTP, also to those that take it for a proxy
//	https     repositories of $WORK/git as git fetches them; $WORK/ca.pem signs host.banger.internal
//	ssh       the same by SSH, for any user and key
//	postgres  takes an SSLRequest and goes on with TLS, as PostgreSQL, and refuses the user
//	smtp      speaks first, takes mail and puts it into $WORK/mail
func serve(_ *state, ts *testscript.TestScript, args []string) {
	for len(args) >= 2 {
		name, kind := args[0], args[1]
		args = args[2:]
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		ts.Setenv(name, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
		ts.Defer(func() { l.Close() })
		switch kind {
		case "http":
			go http.Serve(l, http.HandlerFunc(serveHTTP)) // ends with l
		case "banner":
			go serveBanner(l) // ends with l
		case "sink":
			go each(l, func(c net.Conn) { serveSink(c, ts.MkAbs("sink")) }) // ends with l
		case "closed":
			l.Close()
		case "files":
			go http.Serve(l, http.FileServer(http.Dir(ts.MkAbs("files")))) // ends with l
		case "https", "postgres":
			cert, err := certificate(ts.MkAbs("ca.pem"))
			ts.Check(err)
			if kind == "postgres" {
				go each(l, func(c net.Conn) { servePostgres(c, cert) }) // ends with l
				break
			}
			h := &cgi.Handler{Path: "/usr/lib/git-core/git-http-backend", Env: []string{"GIT_PROJECT_ROOT=" + ts.MkAbs("git"), "GIT_HTTP_EXPORT_ALL=1"}}
			go http.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}}), h) // ends with l
		case "ssh":
			key, err := sshHostKey()
			ts.Check(err)
			go each(l, func(c net.Conn) { serveSSH(c, key, ts.MkAbs("git")) }) // ends with l
		case "smtp":
			go each(l, func(c net.Conn) { serveSMTP(c, ts.MkAbs("mail")) }) // ends with l
		default:
			ts.Fatalf("serve: the kind %q is not known", kind)
		}
	}
}

func serveHTTP(w http.ResponseWriter, r *http.Request) {
	if n, ok := strings.CutPrefix(r.URL.Path, "/bytes/"); ok {
		size, _ := strconv.ParseInt(n, 10, 64)
		w.Header().Set("Content-Length", n)
		io.CopyN(w, zeroes{}, size)
		return
	}
	n, _ := io.Copy(io.Discard, r.Body)
	if r.Method == http.MethodPut {
		fmt.Fprintf(w, "%d bytes\n", n)
		return
	}
	fmt.Fprintf(w, "%s %s\n", r.Host, r.URL.Path)
}

// zeroes reads as zeroes for ever.
type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func serveBanner(l net.Listener) {
	each(l, func(c net.Conn) {
		io.WriteString(c, "220 ready\n")
		io.Copy(c, c)
	})
}

func serveSink(c net.Conn, file string) {
	io.WriteString(c, "220 ready\n")
	n, err := io.Copy(io.Discard, c)
	how := "end"
	switch {
	case errors.Is(err, syscall.ECONNRESET):
		how = "reset"
	case err != nil:
		how = err.Error()
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	fmt.Fprintf(f, "%s after %d bytes\n", how, n)
}

// each serves every connection until l is closed.
func each(l net.Listener, serve func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() { // ends with the client
			defer c.Close()
			serve(c)
		}()
	}
}
