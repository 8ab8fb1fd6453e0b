package qemu

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const greeting = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}` + "\r\n"

// monitor is the other end of a client: it greets and then answers each line
// with answer's.
func monitor(t *testing.T, answer func(line string, id uint64) string) (*qmp, *[]string) {
	t.Helper()
	ours, theirs := net.Pipe()
	var events []string
	q := newQMP(ours, func(name string, data json.RawMessage) { events = append(events, name+" "+string(data)) })
	over := make(chan struct{})
	go func() { // ends with the pipe
		defer close(over)
		defer theirs.Close()
		io.WriteString(theirs, greeting)
		for lines := bufio.NewScanner(theirs); lines.Scan(); {
			var m struct {
				ID uint64 `json:"id"`
			}
			json.Unmarshal(lines.Bytes(), &m)
			text := answer(lines.Text(), m.ID)
			if text == "" {
				return
			}
			io.WriteString(theirs, text)
		}
	}()
	t.Cleanup(func() {
		ours.Close()
		<-q.done
		<-over
	})
	return q, &events
}

func ok(_ string, id uint64) string { return fmt.Sprintf(`{"return": {}, "id": %d}`+"\n", id) }

func TestQMPExecutes(t *testing.T) {
	q, events := monitor(t, func(line string, id uint64) string {
		switch {
		case strings.Contains(line, "qmp_capabilities"):
			return ok(line, id)
		case strings.Contains(line, "stop"):
			return `{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}` + "\n" +
				`{"return": {}, "id": 9999}` + "\n" + ok(line, id)
		}
		return fmt.Sprintf(`{"id": %d, "error": {"class": "GenericError", "desc": "no such thing"}}`+"\n", id)
	})
	if err := q.negotiate(t.Context()); err != nil {
		t.Fatalf("negotiate: %v", err)
	}
	if err := q.execute(t.Context(), "stop", nil); err != nil {
		t.Errorf("execute(stop): %v", err)
	}
	if err := q.execute(t.Context(), "fly", map[string]int{"height": 1}); err == nil || err.Error() != `run QMP command "fly": no such thing` {
		t.Errorf("execute(fly): %v, want QEMU's words", err)
	}
	q.conn.Close()
	<-q.done
	if diff := cmp.Diff([]string{"STOP "}, *events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestQMPEnds(t *testing.T) {
	for name, answer := range map[string]string{
		"neither greeting nor answer": `{"x": 1}` + "\n",
		"read QMP":                    "hello\n",
		"a second greeting":           greeting,
		"too long":                    strings.Repeat("x", maxMessage+1) + "\n",
		"closed its monitor":          "",
		"bad command":                 `{"error": {"class": "GenericError", "desc": "bad command"}}` + "\n",
	} {
		q, _ := monitor(t, func(string, uint64) string { return answer })
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := q.negotiate(ctx); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("negotiate with a monitor that says %.40q: %v, want %q", answer, err, name)
		}
		cancel()
	}
}

func TestQMPIsGivenUp(t *testing.T) {
	release := make(chan struct{})
	q, _ := monitor(t, func(line string, id uint64) string {
		<-release
		return ok(line, id) // late: nobody waits for it
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := q.negotiate(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("negotiate with a monitor that is silent: %v, want the deadline", err)
	}
	q.mu.Lock()
	if len(q.pending) != 0 {
		t.Errorf("%d commands wait for an answer, want none", len(q.pending))
	}
	q.mu.Unlock()
	close(release)
}

func TestLastDeed(t *testing.T) {
	for _, c := range []struct {
		events []string
		want   string
	}{
		{nil, ""},
		{[]string{`SHUTDOWN {"guest": true, "reason": "guest-reset"}`}, "reset"},
		{[]string{`SHUTDOWN {"guest": true, "reason": "guest-shutdown"}`}, "shutdown"},
		{[]string{`SHUTDOWN {"guest": false, "reason": "host-signal"}`}, ""},
		{[]string{`SHUTDOWN {"guest": false, "reason": "host-qmp-quit"}`}, ""},
		{[]string{`GUEST_PANICKED {"action": "pause"}`, `SHUTDOWN {"guest": true, "reason": "guest-reset"}`}, "panic"},
		{[]string{`SHUTDOWN {"guest": true, "reason": "guest-panic"}`}, "panic"},
		{[]string{`SHUTDOWN [1]`, `SHUTDOWN {"reason": 7}`, `SHUTDOWN `, `RESET {}`}, ""},
	} {
		var d lastDeed
		for _, e := range c.events {
			name, data, _ := strings.Cut(e, " ")
			d.event(name, json.RawMessage(data))
		}
		if got := d.get(); got != c.want {
			t.Errorf("after %q the guest's last deed is %q, want %q", c.events, got, c.want)
		}
	}
}

// Whatever a taken-over QEMU says, the reader ends by itself, holds no more than
// one message and answers no command twice.
func FuzzQMP(f *testing.F) {
	f.Add([]byte(greeting + `{"return": {}, "id": 1}` + "\n"))
	f.Add([]byte(greeting + `{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}` + "\n"))
	f.Add([]byte(greeting + `{"error": {"class": "GenericError", "desc": "x"}, "id": 1}` + "\n"))
	f.Add([]byte(`{"id": 1, "return": null}` + "\n\n" + `{"QMP": null}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var d lastDeed
		q := &qmp{
			conn: readConn{Reader: bytes.NewReader(text)}, onEvent: d.event,
			greeted: make(chan struct{}), done: make(chan struct{}), pending: map[uint64]chan message{1: make(chan message, 1)},
		}
		if err := q.read(); err == nil {
			t.Error("read ended without an error")
		}
		if deed := d.get(); deed != "" && deed != "reset" && deed != "shutdown" && deed != "panic" {
			t.Errorf("the guest's last deed is %q", deed)
		}
	})
}

type readConn struct {
	net.Conn
	io.Reader
}

func (c readConn) Read(p []byte) (int, error) { return c.Reader.Read(p) }
