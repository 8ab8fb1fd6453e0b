package qemu

import (
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"banger/internal/channel"
	"banger/internal/vmm"
)

// eventMachine is a machine of which only the events are looked at.
func eventMachine(t *testing.T) *machine {
	var lines [2]net.Conn
	for i := range lines {
		ours, theirs := net.Pipe()
		go io.Copy(io.Discard, theirs) // ends with the pipe
		lines[i] = ours
	}
	m := &machine{
		carrier: channel.NewSerialCarrier(lines[0], lines[1]), events: vmm.NewEvents(),
		nodes: map[string]string{"disk0": "/vm/data"}, open: map[string]bool{},
	}
	t.Cleanup(func() { m.carrier.Close() })
	return m
}

const (
	controlOpen   = `VSERPORT_CHANGE {"open": true, "id": "` + channel.SerialControl + `"}`
	controlClosed = `VSERPORT_CHANGE {"open": false, "id": "` + channel.SerialControl + `"}`
	streamsOpen   = `VSERPORT_CHANGE {"open": true, "id": "` + channel.SerialStreams + `"}`
	streamsClosed = `VSERPORT_CHANGE {"open": false, "id": "` + channel.SerialStreams + `"}`
)

func TestEvents(t *testing.T) {
	gone, back := vmm.Event{Kind: vmm.AgentGone}, vmm.Event{Kind: vmm.AgentBack}
	held := vmm.Event{Kind: vmm.HeldStill, Path: "/vm/data", Why: "No space left on device", Full: true}
	for _, c := range []struct {
		name   string
		events []string
		want   []vmm.Event
	}{
		{"an agent starts", []string{controlOpen, streamsOpen}, nil},
		{"an agent ends", []string{controlOpen, streamsOpen, controlClosed, streamsClosed}, []vmm.Event{gone}},
		{"an agent comes back", []string{controlOpen, streamsOpen, streamsClosed, controlClosed, controlOpen, streamsOpen}, []vmm.Event{gone, back}},
		{"an agent was another for a moment", []string{controlOpen, streamsOpen, controlOpen}, []vmm.Event{gone, back}},
		{"half an agent", []string{controlOpen, streamsOpen, controlClosed, streamsClosed, controlOpen}, []vmm.Event{gone}},
		{"another port", []string{`VSERPORT_CHANGE {"open": false, "id": "x"}`}, nil},
		{"a full disk", []string{
			`BLOCK_IO_ERROR {"device": "", "nospace": true, "node-name": "disk0", "reason": "No space left on device", "operation": "write", "action": "stop"}`,
			`STOP {}`, `RESUME {}`,
		}, []vmm.Event{held, {Kind: vmm.GoesOn}}},
		{"a disk that fails", []string{`BLOCK_IO_ERROR {"nospace": false, "node-name": "disk0", "reason": "Input/output error", "action": "stop"}`},
			[]vmm.Event{{Kind: vmm.HeldStill, Path: "/vm/data", Why: "Input/output error"}}},
		{"an error for the guest", []string{`BLOCK_IO_ERROR {"node-name": "disk0", "reason": "Input/output error", "action": "report"}`}, nil},
		{"a disk of no name", []string{`BLOCK_IO_ERROR {"node-name": "x", "action": "stop"}`}, []vmm.Event{{Kind: vmm.HeldStill}}},
		{"no JSON of ours", []string{`BLOCK_IO_ERROR 7`, `VSERPORT_CHANGE []`, `BLOCK_IO_ERROR `}, nil},
	} {
		m := eventMachine(t)
		for _, e := range c.events {
			name, data, _ := strings.Cut(e, " ")
			m.event(name, json.RawMessage(data))
		}
		var got []vmm.Event
		for len(m.events) > 0 {
			got = append(got, <-m.events)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

// What a taken-over QEMU says of its errors is bounded, and so is the queue.
func TestEventsAreBounded(t *testing.T) {
	m := eventMachine(t)
	text, err := json.Marshal(map[string]string{"action": "stop", "reason": strings.Repeat("x", maxMessage/2)})
	if err != nil {
		t.Fatal(err)
	}
	for range 40 {
		m.event("BLOCK_IO_ERROR", text)
	}
	if n := len(m.events); n > 16 {
		t.Errorf("%d events are kept", n)
	}
	if e := <-m.events; len(e.Why) > maxEventText {
		t.Errorf("an event's text has %d bytes, want at most %d", len(e.Why), maxEventText)
	}
}
