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
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return unixsock.DialOwn(ctx, socket) },
	}}}
}

// AnyVersion returns a client that talks to a daemon of another version of the
// API too. ShowDaemon and StopDaemon mean the same in all of them: a daemon
// that was left from before an upgrade can be looked at and stopped.
func (c *Client) AnyVersion() *Client {
	return &Client{c.socket, c.http, true}
}

// ErrNoDaemon says that nothing answers on the socket.
var ErrNoDaemon = errors.New("bangerd does not run")

// StrangerError says that another user's process listens on the daemon's socket.
type StrangerError = unixsock.StrangerError

// answer makes a call whose answer is one value.
func answer[In, Out any](ctx context.Context, c *Client, call Call[In, Out], ref string, in In) (out Out, err error) {
	resp, err := c.send(ctx, call.Route, ref, in)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		return out, fmt.Errorf("read bangerd's answer: %w", err)
	}
	return out, decode(text, &out)
}

// stream makes a call that answers with events.
func stream[In, Out any](ctx context.Context, c *Client, call Call[In, Out], ref string, in In, each Each) (out Out, err error) {
	resp, err := c.send(ctx, call.Route, ref, in)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var e Event
		if err := decode(lines.Bytes(), &e); err != nil {
			return out, err
		}
		switch {
		case e.Fault != nil:
			return out, e.Fault
		case e.Result != nil:
			return out, decode(e.Result, &out)
		case each != nil:
			each(e)
		}
	}
	if ctx.Err() != nil {
		return out, ctx.Err()
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return out, fmt.Errorf("read bangerd's answer: a line has more than %d bytes", maxLine)
	}
	return out, hint.Add(errors.New("bangerd ended before it answered"), "banger vm list shows what there is; banger daemon status says whether a new one runs")
}

// raw copies the answer to w as it comes.
func raw[In, Out any](ctx context.Context, c *Client, call Call[In, Out], ref string, in In, w io.Writer) error {
	resp, err := c.send(ctx, call.Route, ref, in)
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

// unanswered sorts the errors of a request that got no answer.
func unanswered(err error) error {
	var stranger *StrangerError
	if errors.As(err, &stranger) {
		return hint.Add(stranger, "end that process, or set XDG_STATE_HOME to a directory that only you can write")
	}
	var whole *url.Error // repeats a method and an address that no user typed
	if errors.As(err, &whole) {
		err = whole.Err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("%w: %w", ErrNoDaemon, err)
	}
	return fmt.Errorf("ask bangerd: %w", err)
}

func decode(text []byte, v any) error {
	if len(text) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("read bangerd's answer: %w", err)
	}
	return nil
}

// send makes the request and returns an answer of status 2xx.
func (c *Client) send(ctx context.Context, r *Route, ref string, in any) (*http.Response, error) {
	path := strings.ReplaceAll(r.Path, "{ref}", url.PathEscape(ref))
	var body io.Reader
	switch _, none := in.(None); {
	case none:
	case r.Method == http.MethodGet, r.Method == http.MethodDelete:
		q, err := EncodeQuery(in)
		if err != nil {
			return nil, err
		}
		if len(q) > 0 {
			path += "?" + q.Encode()
		}
	default:
		text, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, "http://bangerd"+path, body)
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
		return nil, unanswered(err)
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
