package dial

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
)

// webPort is the one for which proxies are asked without a tunnel: many make none to it.
const webPort = 80

// Web judges what an HTTP proxy is asked for where it makes no tunnel.
type Web struct {
	// May returns why host is not asked for, nil if it is. It is called for each request.
	May func(ctx context.Context, host string) error
	// Failed takes why the connection was ended, but for what May says and the proxy's own end.
	Failed func(error)
}

// web is a connection to a proxy that makes no tunnel. What is written to it are requests of
// HTTP/1 as a server gets them: the proxy is asked for each by its URL (RFC 9112, 3.2.2). What is
// read are the proxy's answers, as they come.
type web struct {
	Conn
	requests *io.PipeWriter
	stop     context.CancelFunc
	done     chan struct{} // closed when no request is passed on any more
	err      error         // why; set before done is closed
}

// web connects to proxy, and asks it for what is written to the connection.
func (d *Dialer) web(ctx context.Context, proxy *Proxy, name string, judge *Web) (Conn, error) {
	c, err := d.reach(ctx, proxy)
	if err != nil {
		return nil, err
	}
	from, to := io.Pipe()
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	w := &web{Conn: c, requests: to, stop: stop, done: make(chan struct{})}
	go func() { // ends with the requests, or by Close
		defer close(w.done)
		w.err = w.pass(life, from, proxy, name, judge)
		if w.err == nil {
			w.err = c.CloseWrite()
		}
		from.CloseWithError(w.err) // nothing more is read
		if w.err != nil {
			w.SetLinger(0)
			c.Close()
		}
	}()
	return w, nil
}

// Write takes the client's bytes; it waits until they are read.
func (w *web) Write(b []byte) (int, error) { return w.requests.Write(b) }

// CloseWrite ends the requests, and waits until the proxy has all.
func (w *web) CloseWrite() error {
	w.requests.Close()
	<-w.done
	return w.err
}

// Close ends the connection, whatever is under way.
func (w *web) Close() error {
	w.stop()
	w.requests.CloseWithError(net.ErrClosed)
	err := w.Conn.Close()
	<-w.done
	return err
}

// SetLinger passes on how the connection is closed.
func (w *web) SetLinger(sec int) error { return linger(w.Conn, sec) }

// pass asks the proxy for each of the requests, until they end.
func (w *web) pass(ctx context.Context, from io.Reader, proxy *Proxy, name string, judge *Web) error {
	limited := &io.LimitedReader{R: from}
	in, out := bufio.NewReader(limited), bufio.NewWriter(w.Conn)
	for {
		limited.N = maxHeader
		r, err := next(in)
		switch {
		case errors.Is(err, io.EOF) && limited.N > 0:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil && limited.N <= 0:
			err = fmt.Errorf("a request has a header of more than %d KiB", maxHeader>>10)
		case err != nil:
			err = errors.New("what was sent is not HTTP/1")
		default:
			err = passable(r)
		}
		if err != nil {
			judge.Failed(fmt.Errorf("the proxy %s makes no tunnel to port %d, and takes requests only: %w", proxy, webPort, err))
			return err
		}
		limited.N = math.MaxInt64
		host := name
		if r.Host != "" {
			host = canonical(strings.TrimSuffix(r.Host, fmt.Sprint(":", webPort)))
		}
		if err := checkTarget(host, webPort); err != nil {
			judge.Failed(fmt.Errorf("ask the proxy %s for %q: %w", proxy, host, err))
			return err
		}
		if err := judge.May(ctx, host); err != nil {
			return err
		}
		if err := proxy.ask(out, r, host); err != nil {
			return err
		}
	}
}

// next reads the head of a request, with empty lines before it (RFC 9112, 2.2). io.EOF is the end
// of all requests.
func next(in *bufio.Reader) (*http.Request, error) {
	for {
		b, err := in.Peek(1)
		if err != nil {
			return nil, err
		}
		if b[0] != '\r' && b[0] != '\n' {
			return http.ReadRequest(in)
		}
		in.Discard(1)
	}
}

// passable returns why r can't be asked of a proxy: else its target is a path, or a URL of HTTP.
func passable(r *http.Request) error {
	path := r.URL.RequestURI()
	switch {
	case r.ProtoMajor != 1:
		return errors.New("what was sent is not HTTP/1")
	case r.Method == http.MethodConnect:
		return errors.New("a proxy is not asked for another one's tunnel")
	case r.URL.Scheme != "" && r.URL.Scheme != "http", r.URL.Opaque != "", path != "*" && !strings.HasPrefix(path, "/"), path == "*" && r.Method != http.MethodOptions:
		return errors.New("what is asked for is neither a path nor a URL of HTTP")
	}
	return nil
}

// ask passes r on to the proxy, for host: a passable r. It keeps the version and the framing, and leaves out
// what is between a client and its server alone: an upgrade, and credentials for a proxy.
func (p *Proxy) ask(out *bufio.Writer, r *http.Request, host string) error {
	path := r.URL.RequestURI()
	if path == "*" {
		path = "" // RFC 9112, 3.2.4
	}
	head := r.Header.Clone()
	for _, name := range []string{"Proxy-Connection", "Proxy-Authorization", "Upgrade", "Http2-Settings", "Connection", "Content-Length", "Transfer-Encoding"} {
		head.Del(name)
	}
	head.Set("Host", host)
	if p.auth {
		head.Set("Proxy-Authorization", p.basic())
	}
	switch {
	case r.Close:
		head.Set("Connection", "close")
	case r.ProtoMinor == 0:
		head.Set("Connection", "keep-alive")
	}
	chunked := r.ContentLength < 0
	switch {
	case chunked:
		head.Set("Transfer-Encoding", "chunked")
	case r.ContentLength > 0 || r.Header.Get("Content-Length") != "":
		head.Set("Content-Length", fmt.Sprint(r.ContentLength))
	}
	for name := range r.Trailer {
		head.Add("Trailer", name)
	}
	fmt.Fprintf(out, "%s http://%s%s HTTP/1.%d\r\n", r.Method, host, path, r.ProtoMinor)
	head.Write(out)
	io.WriteString(out, "\r\n")
	if err := out.Flush(); err != nil { // before the body, for which a client may wait (RFC 9110, 10.1.1)
		return err
	}
	var body io.Writer = out
	if chunked {
		body = httputil.NewChunkedWriter(out)
	}
	if _, err := io.Copy(flushing{body, out}, r.Body); err != nil {
		return err
	}
	if chunked {
		body.(io.Closer).Close()
		r.Trailer.Write(out)
		io.WriteString(out, "\r\n")
	}
	return out.Flush()
}

// flushing sends on at once what is written.
type flushing struct {
	io.Writer
	out *bufio.Writer
}

func (f flushing) Write(b []byte) (int, error) {
	n, err := f.Writer.Write(b)
	if err == nil {
		err = f.out.Flush()
	}
	return n, err
}
