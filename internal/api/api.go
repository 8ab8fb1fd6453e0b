// Package api is the contract between the CLI and bangerd: paths, types, the
// table of errors, and the client. HTTP/1.1 with JSON on a Unix socket of mode
// 0600; the peer's uid is checked. Long work answers with a stream of Events,
// one JSON object a line (application/x-ndjson), whose last line has Result or
// Fault.
package api

import (
	"encoding/json"
	"time"

	"banger/internal/vm"
)

// Version is the API's version; CLI and daemon must agree on it.
const Version = 1

// HeaderVersion carries "<api version> <program version>" on every request and
// response.
const HeaderVersion = "Banger-Version"

// Paths. {ref} is a name, an id or a unique id prefix.
const (
	PathDaemon     = "/v1/daemon"            // GET Daemon
	PathDaemonStop = "/v1/daemon/stop"       // POST
	PathVMs        = "/v1/vms"               // GET []VM; POST Create, streams Events with a VM as result
	PathVM         = "/v1/vms/{ref}"         // GET VM; DELETE ?force=true, streams Events
	PathStart      = "/v1/vms/{ref}/start"   // POST, streams Events with a VM as result
	PathStop       = "/v1/vms/{ref}/stop"    // POST, streams Events with a VM as result
	PathLogs       = "/v1/vms/{ref}/logs"    // GET ?follow=true, the console's raw bytes
	PathSession    = "/v1/vms/{ref}/session" // GET Session
	PathKeep       = "/v1/vms/{ref}/keep"    // POST: drop --rm from a VM
	PathImages     = "/v1/images"            // GET []Image
	PathImageBuild = "/v1/images/build"      // POST ImageBuild, streams Events with an Image as result
	PathKernels    = "/v1/kernels"           // GET []Kernel
	PathKernelPull = "/v1/kernels/pull"      // POST KernelPull, streams Events with a Kernel as result
	PathTrash      = "/v1/trash"             // GET []TrashEntry
	PathTrashEmpty = "/v1/trash/empty"       // POST, answers TrashEmptied
)

// Daemon is what `daemon status` shows.
type Daemon struct {
	Version   string    `json:"version"`
	API       int       `json:"api"`
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"started_at"`
	Socket    string    `json:"socket"`
	StateDir  string    `json:"state_dir"`
	CacheDir  string    `json:"cache_dir"`
	LogFile   string    `json:"log_file"`
	VMs       int       `json:"vms"`
	Running   int       `json:"running"`
	RSSKiB    int64     `json:"rss_kib"`
}

// Create asks for a new VM. An empty Spec.Name lets the daemon make one, empty
// Image, Kernel, VMM and zero sizes take the host's defaults.
type Create struct {
	Spec  vm.Spec `json:"spec"`
	Start bool    `json:"start"`
	// Remove ties the VM to the calling process: when that ends, the VM is
	// deleted (--rm).
	Remove bool `json:"remove"`
}

// VM is a VM as it is shown.
type VM struct {
	vm.Record
	// Dir is the VM's directory on the host.
	Dir string `json:"dir"`
	// DiskUsedBytes is what its disk really takes on the host.
	DiskUsedBytes int64 `json:"disk_used_bytes"`
	// Notes are lines that a user should know: confinement that could not be
	// applied, slowness of emulation.
	Notes []string `json:"notes,omitempty"`
}

// Session is where a running VM's supervisor answers: a Unix socket that
// speaks HTTP/1.1; GET /v1/dial?port=N with "Upgrade: banger-stream" turns the
// connection into a stream to the guest's service on port N.
type Session struct {
	ID     vm.ID  `json:"id"`
	Name   string `json:"name"`
	Socket string `json:"socket"`
}

// Image is a base image.
type Image struct {
	Ref       string    `json:"ref"`    // "debian-12"
	Digest    string    `json:"digest"` // "sha256:…", of the ext4 file
	SizeBytes int64     `json:"size_bytes"`
	CreatedAt time.Time `json:"created_at"`
	Source    string    `json:"source"` // "debian bookworm, mmdebstrap 1.3.5"
	Default   bool      `json:"default"`
	Path      string    `json:"path"`
}

// ImageBuild asks for the image behind Ref ("" is the default) to be built
// anew even where it exists.
type ImageBuild struct {
	Ref string `json:"ref"`
}

// Kernel is a kernel with its modules.
type Kernel struct {
	Ref       string    `json:"ref"` // "debian-12-cloud"
	Digest    string    `json:"digest"`
	Release   string    `json:"release"` // uname -r
	SizeBytes int64     `json:"size_bytes"`
	CreatedAt time.Time `json:"created_at"`
	Source    string    `json:"source"`
	Default   bool      `json:"default"`
	Path      string    `json:"path"`
}

// KernelPull asks for the kernel behind Ref ("" is the default).
type KernelPull struct {
	Ref string `json:"ref"`
}

// TrashEntry is a deleted VM whose disk is still there.
type TrashEntry struct {
	ID        vm.ID     `json:"id"`
	Name      string    `json:"name"`
	DeletedAt time.Time `json:"deleted_at"`
	UsedBytes int64     `json:"used_bytes"`
}

// TrashEmptied is what emptying the trash did.
type TrashEmptied struct {
	Entries   int   `json:"entries"`
	UsedBytes int64 `json:"used_bytes"`
}

// Event is one line of a long request's answer.
type Event struct {
	// Stage names a step: "image", "kernel", "disk", "boot", "stop", "delete".
	Stage string `json:"stage,omitempty"`
	// Text is the step in words, for a person.
	Text string `json:"text,omitempty"`
	// Done and Total count Unit ("bytes" or "steps"); Total 0 is unknown.
	Done  int64  `json:"done,omitempty"`
	Total int64  `json:"total,omitempty"`
	Unit  string `json:"unit,omitempty"`
	// Finished ends the stage.
	Finished bool `json:"finished,omitempty"`
	// Notice is a line for the user that outlives the stage.
	Notice string `json:"notice,omitempty"`

	// Result or Fault is on the last line only.
	Result json.RawMessage `json:"result,omitempty"`
	Fault  *Fault          `json:"fault,omitempty"`
}
