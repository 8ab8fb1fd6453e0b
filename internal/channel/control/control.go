// Package control says what is said on the guest's control port: HTTP/2
// without TLS carrying JSON. The agent serves it; the supervisor calls it
// through Client. Every answer comes from a guest, so Client bounds all of it.
package control

import (
	"encoding/json"
	"errors"
	"net/netip"
)

// Paths of the service.
const (
	PathIdentity = "/v1/identity" // PUT Identity, answers Ready once the root is joined
	PathHealth   = "/v1/health"   // GET Health
	PathSync     = "/v1/sync"     // POST, answers once all file systems are synced
	PathEnd      = "/v1/end"      // POST End, streams EndEvent lines until the guest is gone
	PathGrow     = "/v1/grow"     // POST Grow, answers once the root is as large as its disk
	PathMeasure  = "/v1/measure"  // POST, answers Measure
	PathEvents   = "/v1/events"   // GET, streams Event lines until the agent ends
)

// MaxBody bounds any request or response body but End's stream, in bytes.
const MaxBody = 1 << 20

// Identity makes a waiting guest somebody. It is sent once a launch (and again
// after a restore, or to an agent that answers again), never before hello.
type Identity struct {
	Hostname  string `json:"hostname"`
	MachineID string `json:"machine_id"` // 32 hex digits, from the VM's id
	UnixNano  int64  `json:"unix_nano"`  // the host's clock
	// Entropy is 64 random bytes for the guest's pool.
	Entropy []byte `json:"entropy"`
	// NoInit leaves out the image's init: the agent's PID 1 stays, and no service
	// starts.
	NoInit bool `json:"no_init,omitempty"`
	// HoldInit has the image's init wait until a session of the agent's own program has
	// ended, as a copy's, or for 3 seconds. An agent that does not know it starts the init.
	HoldInit bool `json:"hold_init,omitempty"`
	// Bare leaves out the root as well, and all that the rest of an identity says: the
	// guest has its initramfs, in which the agent's own program runs.
	Bare bool `json:"bare,omitempty"`
	// Zone is the guest's time zone; nil leaves the image's.
	Zone *Zone `json:"zone,omitempty"`
	// Repair says that the user wants the disk repaired, whatever is lost.
	Repair bool `json:"repair,omitempty"`
	// Network gives the guest a network, whose carriers the host opens; nil gives none.
	Network *Network `json:"network,omitempty"`
	// SSH is what the guest's SSH service is told; without it, or with an agent of an
	// earlier version, there is none.
	SSH *SSH `json:"ssh,omitempty"`
}

// Network is how a guest is connected.
type Network struct {
	// IPv6 says that the host has a way to addresses of IPv6.
	IPv6 bool `json:"ipv6,omitempty"`
	// Host is what the guest gets of the host's configuration: package agent/hostconfig's
	// Config.
	Host json.RawMessage `json:"host,omitempty"`
}

// SSH is the identity of a guest's SSH service.
type SSH struct {
	HostKey []byte   `json:"host_key"` // private, in OpenSSH's format
	Clients []string `json:"clients"`  // public keys that may log in, a line of authorized_keys each
}

// Needs is as of an exec.Request.
func (id Identity) Needs() (protocol int, what string) {
	switch {
	case id.Network != nil:
		return 3, "a network"
	case id.Bare:
		return 2, "a guest without its root"
	case id.NoInit:
		return 2, "a guest without its init"
	case id.Zone != nil:
		return 2, "a time zone"
	}
	return 1, ""
}

// Zone is a time zone.
type Zone struct {
	Name string `json:"name,omitempty"` // as Europe/Berlin; "" is unknown
	Data []byte `json:"data,omitempty"` // its description (tzfile(5))
}

// Ready is the answer to Identity: the root is joined. The image's init has
// not done anything yet.
type Ready struct {
	UptimeMillis int64  `json:"uptime_millis"` // guest's uptime when the root was joined
	Init         string `json:"init"`          // path of the image's init, or "" where the agent stays PID 1
	// BootID is the guest's own, and Again says that the agent was started in it by
	// another one's end.
	BootID string `json:"boot_id,omitempty"`
	Again  bool   `json:"again,omitempty"`
	// Disk is the disk's state by then.
	Disk DiskState `json:"disk,omitempty"`
}

// Grow says that the VM's own disk has grown to so many bytes.
type Grow struct {
	Bytes int64 `json:"bytes"`
}

// Needs is as of an exec.Request.
func (Grow) Needs() (protocol int, what string) { return 2, "a larger disk" }

// Health is the guest's state as the agent sees it.
type Health struct {
	UptimeMillis  int64  `json:"uptime_millis"`
	Init          string `json:"init"` // "systemd", "other" or "agent"
	MemTotalKiB   int64  `json:"mem_total_kib"`
	MemFreeKiB    int64  `json:"mem_free_kib"` // MemAvailable
	DiskTotalKiB  int64  `json:"disk_total_kib"`
	DiskFreeKiB   int64  `json:"disk_free_kib"`
	AgentRSSKiB   int64  `json:"agent_rss_kib"`
	ExecProcesses int    `json:"exec_processes"` // processes running under exec now
}

// End asks the guest to stop its services and end by a reboot, which ends the
// VMM. After GraceMillis the agent forces it; while the guest works at its end, after WorkMillis,
// if that is more.
type End struct {
	GraceMillis int64 `json:"grace_millis"`
	WorkMillis  int64 `json:"work_millis,omitempty"`
}

// EndEvent is one line of End's answer.
type EndEvent struct {
	// Stage is "asked" (the init was told), "works" (it has more time), "forced" (it took too long),
	// "synced" (the agent itself synced and remounts read-only).
	Stage string `json:"stage"`
}

// Event is one line of what the agent has to say by itself. The first one comes at
// once, and is empty if nothing has happened yet.
type Event struct {
	OutOfMemory *OutOfMemory `json:"out_of_memory,omitempty"`
	Disk        DiskState    `json:"disk,omitempty"`
	// Ports are all that listen, said anew when they change.
	Ports *Ports `json:"ports,omitempty"`
}

// Ports are the TCP ports that listen in the guest, in the order of their numbers.
type Ports struct {
	Listening []Listener `json:"listening"`
	// More is how many there are beyond MaxListeners, which are not said.
	More int `json:"more,omitempty"`
}

// MaxListeners bounds the listeners of Ports.
const MaxListeners = 1024

// Listener is a socket that listens.
type Listener struct {
	Addr netip.AddrPort `json:"addr"`
	// Process is the name that its process has chosen, at most 15 bytes, and PID its
	// number in the guest; "" and 0 if it is not known.
	Process string `json:"process,omitempty"`
	PID     int    `json:"pid,omitempty"`
}

// DiskState is what the agent knows of the VM's disk; "" is nothing bad.
type DiskState string

// The states of a disk.
const (
	DiskChecked  DiskState = "checked"   // its metadata were in doubt when the guest began, and are whole
	DiskRepaired DiskState = "repaired"  // it was damaged when the guest began, or the user thought so
	DiskErrors   DiskState = "errors"    // it has given an error since
	DiskReadOnly DiskState = "read-only" // an error has made the root read-only
)

// ErrDamaged says that a disk is to be repaired before its guest can be.
var ErrDamaged = errors.New("the VM's disk is damaged")

// OutOfMemory says that the guest's kernel killed a process because the guest had no
// memory left. It is said at each such kill, and of the last one at the stream's
// beginning.
type OutOfMemory struct {
	Kills     int64  `json:"kills"`      // so far, as this agent saw them
	AgoMillis int64  `json:"ago_millis"` // since the last one
	Process   string `json:"process"`    // the killed process's name, as the kernel has it
}

// Measure is what the guest's own fork and exec of a static do-nothing program
// cost, measured by the agent, each in nanoseconds.
type Measure struct {
	ForkExecNanos []int64 `json:"fork_exec_nanos"`
}

// Fault is the body of any answer that is not 2xx.
type Fault struct {
	Error   string `json:"error"`
	Damaged bool   `json:"damaged,omitempty"` // it is ErrDamaged
}
