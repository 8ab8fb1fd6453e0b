package supervisor

import (
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

	"banger/internal/channel/control"
	"banger/internal/network/policy"
	"banger/internal/unixsock"
)

// Client asks one supervisor. It holds no connection between calls, which may be
// made at once. The error of a call that the supervisor refuses is a *Refusal.
type Client struct {
	http *http.Client
}

// NewClient talks to the supervisor of the VM in dir.
func NewClient(dir string) *Client {
	return &Client{&http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return unixsock.DialOwn(ctx, SocketPath(dir))
		},
	}}}
}

// ProtocolError is a supervisor whose protocol this program does not speak.
type ProtocolError struct{ Theirs int }

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("the supervisor speaks protocol %d, this program %d", e.Theirs, Protocol)
}

// do sends one request. The body is the caller's to close.
func (c *Client) do(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set(Header, strconv.Itoa(Protocol))
	if path == pathFlows {
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", Upgrade)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the supervisor: %w", err)
	}
	if resp.StatusCode/100 == 2 || resp.StatusCode == http.StatusSwitchingProtocols {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	var f Refusal
	if json.Unmarshal(text, &f) != nil || f.Message == "" {
		return nil, fmt.Errorf("ask the supervisor: %s: %.200q", resp.Status, text)
	}
	return nil, &f
}

// decode reads one status of another's protocol.
func decode(in *json.Decoder) (Status, error) {
	var s Status
	if err := in.Decode(&s); err != nil {
		return Status{}, err
	}
	if s.Protocol < Protocol-1 || s.Protocol > Protocol+1 {
		return Status{}, &ProtocolError{s.Protocol}
	}
	return received(s), nil
}

// Status asks how the run stands.
func (c *Client) Status(ctx context.Context) (Status, error) {
	body, err := c.do(ctx, http.MethodGet, pathStatus, nil)
	if err != nil {
		return Status{}, err
	}
	defer body.Close()
	return decode(json.NewDecoder(body))
}

// Events calls hear with the status now, at every change and each Heartbeat,
// until the run is Gone (nil) or the supervisor or ctx ends (an error). Changes
// that follow each other quickly may come as one.
func (c *Client) Events(ctx context.Context, hear func(Status) error) error {
	body, err := c.do(ctx, http.MethodGet, pathEvents, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	in := json.NewDecoder(body)
	for {
		s, err := decode(in)
		if err != nil {
			return fmt.Errorf("follow the supervisor: %w", err)
		}
		if err := hear(s); err != nil {
			return err
		}
		if s.Phase == Gone {
			return nil
		}
	}
}

// Stop asks for the end and does not wait for it. A repeat changes nothing, but
// for one that discards: it cuts a graceful stop short.
func (c *Client) Stop(ctx context.Context, s Stop) error { return c.post(ctx, pathStop, s) }

// Kill asks for the end by force and does not wait for it. A repeat sends its
// signal too.
func (c *Client) Kill(ctx context.Context, k Kill) error { return c.post(ctx, pathKill, k) }

func (c *Client) post(ctx context.Context, path string, in any) error {
	body, err := c.do(ctx, http.MethodPost, path, in)
	if err != nil {
		return err
	}
	return body.Close()
}

// Grow tells VMM and guest that the VM's disk is larger, and returns when its root is as
// large.
func (c *Client) Grow(ctx context.Context) error { return c.post(ctx, pathGrow, struct{}{}) }

// SetPolicy changes what the guest may reach. Connections that it would not have any more
// are ended.
func (c *Client) SetPolicy(ctx context.Context, p policy.Policy) error {
	return c.post(ctx, pathPolicy, p)
}

// Network asks for the run's network; of a name and a port, what would become of a connection
// to it. The network's log has all that happened before.
func (c *Client) Network(ctx context.Context, name string, port uint16) (NetworkState, error) {
	path := pathNetwork
	if name != "" {
		path += "?" + url.Values{"name": {name}, "port": {strconv.Itoa(int(port))}}.Encode()
	}
	body, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return NetworkState{}, err
	}
	defer body.Close()
	var s NetworkState
	return s, json.NewDecoder(io.LimitReader(body, maxRequest)).Decode(&s)
}

// Ports asks which ports listen in the guest, and what is forwarded to them.
func (c *Client) Ports(ctx context.Context) (PortsState, error) {
	return c.ports(ctx, http.MethodGet, pathPorts, nil)
}

// Forward changes the run's forwards. On an error they are as they were.
func (c *Client) Forward(ctx context.Context, change ForwardChange) (PortsState, error) {
	return c.ports(ctx, http.MethodPost, pathForward, change)
}

func (c *Client) ports(ctx context.Context, method, path string, in any) (PortsState, error) {
	body, err := c.do(ctx, method, path, in)
	if err != nil {
		return PortsState{}, err
	}
	defer body.Close()
	var s PortsState
	return s, json.NewDecoder(io.LimitReader(body, maxRequest)).Decode(&s)
}

// Flows is a carrier of flows to what listens in the run's guest. The caller closes it; ctx
// bounds only its opening.
func (c *Client) Flows(ctx context.Context) (io.ReadWriteCloser, error) {
	body, err := c.do(ctx, http.MethodGet, pathFlows, nil)
	if err != nil {
		return nil, err
	}
	carrier, ok := body.(io.ReadWriteCloser)
	if !ok {
		body.Close()
		return nil, errors.New("ask the supervisor: it has not made the connection a carrier")
	}
	return carrier, nil
}

// Health asks the guest's agent how the guest is.
func (c *Client) Health(ctx context.Context) (control.Health, error) {
	body, err := c.do(ctx, http.MethodGet, pathHealth, nil)
	if err != nil {
		return control.Health{}, err
	}
	defer body.Close()
	var h control.Health
	return h, json.NewDecoder(io.LimitReader(body, control.MaxBody)).Decode(&h)
}

// Console copies the console's bytes to w: what is kept, and with follow what
// comes until the run's end; with fromNow too, only what comes.
func (c *Client) Console(ctx context.Context, follow, fromNow bool, w io.Writer) error {
	path := fmt.Sprintf("%s?follow=%t", pathConsole, follow)
	if fromNow {
		path += "&from=now"
	}
	body, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(w, body)
	return err
}
