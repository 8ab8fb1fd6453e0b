package qemu

import (
	"encoding/json"
	"sync"

	"banger/internal/channel"
	"banger/internal/vmm"
)

// event takes one event of QMP's (QAPI schema, qapi/*.json). QMP's reader calls
// it, in order.
func (m *machine) event(name string, data json.RawMessage) {
	m.guest.event(name, data)
	switch name {
	case "VSERPORT_CHANGE":
		var port struct {
			ID   string `json:"id"`
			Open bool   `json:"open"`
		}
		if json.Unmarshal(data, &port) == nil {
			m.portChanged(port.ID, port.Open)
		}
	case "BLOCK_IO_ERROR":
		var e struct {
			Node   string `json:"node-name"`
			Action string `json:"action"`
			Reason string `json:"reason"`
			Full   bool   `json:"nospace"`
		}
		// Any other action leaves the error to the guest.
		if json.Unmarshal(data, &e) == nil && e.Action == "stop" {
			why := e.Reason[:min(len(e.Reason), maxEventText)]
			m.events.Put(vmm.Event{Kind: vmm.HeldStill, Path: m.nodes[e.Node], Why: why, Full: e.Full})
		}
	case "RESUME":
		m.events.Put(vmm.Event{Kind: vmm.GoesOn})
	}
}

// portChanged notes that the guest opened or closed a port of the channel. The
// agent has both ports open as long as it lives.
func (m *machine) portChanged(id string, open bool) {
	if id != channel.SerialControl && id != channel.SerialStreams {
		return
	}
	// Of several changes within a second QEMU tells the last one
	// (monitor_qapi_event_conf): opened twice was closed between.
	missed := open && m.open[id]
	m.open[id] = open
	if missed && !m.gone {
		m.carrier.Drop()
		m.events.Put(vmm.Event{Kind: vmm.AgentGone})
		m.events.Put(vmm.Event{Kind: vmm.AgentBack})
		return
	}
	switch {
	case !open && !m.gone:
		m.gone = true
		m.carrier.Drop()
		m.events.Put(vmm.Event{Kind: vmm.AgentGone})
	case m.gone && m.open[channel.SerialControl] && m.open[channel.SerialStreams]:
		m.gone = false
		m.events.Put(vmm.Event{Kind: vmm.AgentBack})
	}
}

// lastDeed remembers what the guest did last, from QMP's events.
type lastDeed struct {
	mu   sync.Mutex
	deed string
}

// deeds are the reasons of a SHUTDOWN event (QAPI, ShutdownCause) that are the
// guest's own doing.
var deeds = map[string]string{
	"guest-reset":    "reset",
	"guest-shutdown": "shutdown",
	"guest-panic":    "panic",
}

func (d *lastDeed) event(name string, data json.RawMessage) {
	var deed string
	switch name {
	case "SHUTDOWN":
		var cause struct {
			Reason string `json:"reason"`
		}
		json.Unmarshal(data, &cause) // what can't be read names no deed
		deed = deeds[cause.Reason]
	case "GUEST_PANICKED":
		deed = "panic"
	}
	if deed == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.deed != "panic" { // the reset after a panic is the panic's
		d.deed = deed
	}
}

func (d *lastDeed) get() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.deed
}
