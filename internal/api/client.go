package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"banger/internal/hint"
	"banger/internal/unixsock"
)

// maxLine bounds one event, maxAnswer any other answer, in bytes.
const (
	maxLine   = 4 << 20
	maxAnswer = 64 << 20
)

// Client talks to the bangerd that listens on a socket. Its methods may be
// called at once.
type Client struct {
	socket     string
	http       *http.Client
	anyVersion bool
}

// NewClient talks to the daemon on socket; nothing is dialled before the first
// call.
func NewClient(socket string) *Client {
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return unixsock.Dial(ctx, socket) },
	}}}
}

// AnyVersion returns a client that talks to a daemon of another version of the
// API too. PathDaemon and PathDaemonStop mean the same in all of them: a daemon
// that was left from before an upgrade can be looked at and stopped.
func (c *Client) AnyVersion() *Client {
	return &Client{c.socket, c.http, true}
}

// ErrNoDaemon says that nothing answers on the socket.
var ErrNoDaemon = errors.New("bangerd does not run")

// Path fills the {ref} of one of the Path constants.
func Path(pattern, ref string) string {
	return strings.ReplaceAll(pattern, "{ref}", url.PathEscape(ref))
}

// Get decodes the answer to GET path into out.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	return c.Do(ctx, http.MethodGet, path, nil, out)
}

// Do sends in, where it is not nil, and decodes the answer into out, where
// that is not nil. A *Fault is the daemon's own error; ErrNoDaemon says that
// the request did not reach one.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read bangerd's answer: %w", err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("read bangerd's answer: %w", err)
	}
	return nil
}

// Stream sends in, calls each with every event, one after the other, and
// decodes the result into out, where that is not nil. When ctx ends the daemon
// sees its caller gone.
func (c *Client) Stream(ctx context.Context, method, path string, in, out any, each func(Event)) error {
	resp, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("read bangerd's answer: %w", err)
		}
		switch {
		case e.Fault != nil:
			return e.Fault
		case e.Result != nil:
			if out == nil {
				return nil
			}
			if err := json.Unmarshal(e.Result, out); err != nil {
				return fmt.Errorf("read bangerd's answer: %w", err)
			}
			return nil
		}
		each(e)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("read bangerd's answer: a line has more than %d bytes", maxLine)
	}
	return hint.Add(errors.New("bangerd ended before it answered"), "banger vm list shows what is there; banger daemon status says whether a new one runs")
}

// Copy copies the raw answer to GET path to w, as it comes.
func (c *Client) Copy(ctx context.Context, path string, w io.Writer) error {
	resp, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(w, resp.Body)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("bangerd ended before the answer did")
	}
	return err
}

func (c *Client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://bangerd"+path, body)
	if err != nil {
		return nil, err
	}
	if !c.anyVersion {
		req.Header.Set(HeaderVersion, fmt.Sprintf("%d %s", Version, ProgramVersion()))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return nil, fmt.Errorf("%w: %w", ErrNoDaemon, err)
		}
		return nil, fmt.Errorf("ask bangerd: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		f := &Fault{Code: CodeInternal}
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxLine))
		if json.Unmarshal(text, f) != nil || f.Message == "" {
			*f = Fault{Code: CodeInternal, Message: "bangerd answers " + resp.Status}
		}
		return nil, f
	}
	if theirs, _, _ := strings.Cut(resp.Header.Get(HeaderVersion), " "); !c.anyVersion && theirs != strconv.Itoa(Version) {
		resp.Body.Close()
		return nil, &Fault{Code: CodeVersion, Hint: "banger daemon stop; the next command starts the right bangerd",
			Message: fmt.Sprintf("bangerd speaks version %.20q of the API, this banger version %d", theirs, Version)}
	}
	return resp, nil
}
