package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"

	"banger/internal/paths"
	"banger/internal/unixsock"
)

// Client asks one supervisor. It holds no connection between calls.
type Client struct {
	http *http.Client
}

// SocketPath is where the supervisor of the VM with the socket directory
// runDir answers.
func SocketPath(runDir string) string { return filepath.Join(runDir, paths.SupervisorSocket) }

// NewClient talks to the supervisor whose socket lies in runDir.
func NewClient(runDir string) *Client {
	return &Client{&http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return unixsock.Dial(ctx, SocketPath(runDir))
		},
	}}}
}

func (c *Client) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var r io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path, r)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the supervisor: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return nil, fmt.Errorf("ask the supervisor: %s: %.200q", resp.Status, text)
	}
	return resp, nil
}

// Status asks how the run stands.
func (c *Client) Status(ctx context.Context) (Status, error) {
	resp, err := c.do(ctx, http.MethodGet, pathStatus, nil)
	if err != nil {
		return Status{}, err
	}
	defer resp.Body.Close()
	var s Status
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// Events calls each with every change until the run is Gone (nil) or the
// supervisor or ctx ends (an error).
func (c *Client) Events(ctx context.Context, each func(Status)) error {
	resp, err := c.do(ctx, http.MethodGet, pathEvents, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(resp.Body)
	for {
		var s Status
		if err := dec.Decode(&s); err != nil {
			return fmt.Errorf("follow the supervisor: %w", err)
		}
		each(s)
		if s.Phase == Gone {
			return nil
		}
	}
}

// Stop asks for the end and does not wait for it.
func (c *Client) Stop(ctx context.Context, s Stop) error {
	resp, err := c.do(ctx, http.MethodPost, pathStop, s)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Console copies the console's bytes to w, with follow until the run's end.
func (c *Client) Console(ctx context.Context, w io.Writer, follow bool) error {
	resp, err := c.do(ctx, http.MethodGet, fmt.Sprintf("%s?follow=%t", pathConsole, follow), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(w, resp.Body)
	return err
}
