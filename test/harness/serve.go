package harness

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// serve starts servers on the host's loopback, which end with the script. The kinds are
//
//	http    answers a GET with its path, a PUT with the number of bytes, and /bytes/N with so many
//	banner  speaks first, a line, and then says what it hears
//	closed  nobody: the port was free a moment ago
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
		case "closed":
			l.Close()
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
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() { // ends with the client
			defer c.Close()
			io.WriteString(c, "220 ready\n")
			io.Copy(c, c)
		}()
	}
}
