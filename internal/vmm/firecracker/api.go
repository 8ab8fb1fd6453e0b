package firecracker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"banger/internal/unixsock"
)

// maxAnswer bounds an answer of the API that is read, in bytes; maxFault what
// is kept of an error's words.
const (
	maxAnswer = 64 << 10
	maxFault  = 1 << 10
)

// client calls one Firecracker's API.
type client struct{ http *http.Client }

func newClient(api *unixsock.Handle) *client {
	return &client{&http.Client{Transport: &http.Transport{
		MaxConnsPerHost:    1,
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return api.Dial(ctx)
		},
	}}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// fault is what the API says of a call that it refuses, its error model.
type fault struct {
	Call    string
	Message string
}

func (f *fault) Error() string { return f.Call + ": " + f.Message }

// put is a PUT of body as JSON; any answer but 2xx is a *fault.
func (c *client) put(ctx context.Context, path string, body any) error {
	return c.send(ctx, http.MethodPut, path, body)
}

func (c *client) send(ctx context.Context, method, path string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://firecracker"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	return c.call(req)
}

// get is a GET whose answer is dropped, as of put.
func (c *client) get(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://firecracker"+path, nil)
	if err != nil {
		return err
	}
	return c.call(req)
}

func (c *client) call(req *http.Request) error {
	path := req.URL.Path
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("call Firecracker's %s: %w", path, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode/100 == 2 {
		return err
	}
	return &fault{Call: strings.TrimPrefix(path, "/"), Message: faultText(answer, resp.Status)}
}

// faultText is an error body's message, or what there is.
func faultText(body []byte, status string) string {
	var m struct {
		Fault string `json:"fault_message"`
	}
	json.Unmarshal(body, &m) // what can't be read is shown as it is
	text := m.Fault
	if text == "" {
		text = status + " " + string(body)
	}
	text = strings.TrimSpace(text)
	return text[:min(len(text), maxFault)]
}

// connectWait is between two tries to connect: the socket's file is there a
// moment before it is listened on, so its coming tells too little.
const connectWait = 2 * time.Millisecond

// awaitAPI waits until something listens on socket, ended is closed, or ctx
// ends.
func awaitAPI(ctx context.Context, socket string, ended <-chan struct{}) error {
	for {
		c, err := unixsock.Dial(ctx, socket)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ended:
			return errEnded
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(connectWait):
		}
	}
}

// errEnded says that Firecracker ended before it answered.
var errEnded = errors.New("firecracker ended")
