// Package api is the contract between bangerd and its clients: one table of
// routes, the types that cross the socket, the table of errors, and a typed
// client. HTTP/1.1 with JSON on a Unix socket of mode 0600; both sides check the
// other's uid. A long call answers with a stream of Events, one JSON object a
// line (application/x-ndjson), whose last line has Result or Fault.
//
// A type here is a view for people and programs: what the daemon records of a
// VM is private to it.
package api

import (
	"encoding/json"
	"time"

	"banger/internal/vm"
)

// Version is the API's version; client and daemon must agree on it.
const Version = 2

// HeaderVersion carries "<api version> <program version>" on every request and
// response.
const HeaderVersion = "Banger-Version"

// Daemon is the daemon as `daemon status` shows it.
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
	// Names is where names of VMs are answered by DNS, and NamesProblem why they are not;
	// "" if they are.
	Names        string `json:"names,omitempty"`
	NamesProblem string `json:"names_problem,omitempty"`
	// Goroutines and Descriptors are for whoever looks for a leak.
	Goroutines  int `json:"goroutines"`
	Descriptors int `json:"descriptors"`
}

// Spec is the machine that a user wishes for. An empty Image, Kernel or Driver
// and a zero size take the host's defaults when the VM is created.
type Spec struct {
	Image   string `json:"image"`
	Kernel  string `json:"kernel"`
	VCPUs   int    `json:"vcpus"`
	MemMiB  int64  `json:"mem_mib"`
	DiskMiB int64  `json:"disk_mib"`
	Driver  string `json:"driver"` // "auto" or a driver's name
	// TTLSeconds is how long a run lasts before the VM is stopped; 0 is for good.
	TTLSeconds int64 `json:"ttl_seconds,omitempty"`
	// TZ is the guest's time zone: "host", "UTC", a name as "Europe/Berlin", or "" for
	// what the guest has.
	TZ string `json:"tz,omitempty"`
	// Network is how the guest is connected, and what it may reach.
	Network vm.Network `json:"network,omitzero"`
}

// VM is a VM as it is shown.
type VM struct {
	ID    vm.ID    `json:"id"`
	Name  string   `json:"name"`
	State vm.State `json:"state"`
	// Operation is the verb under way on the VM, as "stop"; "" when none is.
	Operation    string    `json:"operation,omitempty"`
	Spec         Spec      `json:"spec"`
	ImageDigest  string    `json:"image_digest"`
	KernelDigest string    `json:"kernel_digest"`
	CreatedAt    time.Time `json:"created_at"`
	StartedAt    time.Time `json:"started_at,omitzero"`
	// EndsAt is when the VM will be stopped by itself; zero when it won't be.
	EndsAt time.Time `json:"ends_at,omitzero"`
	// BootID is the guest's own boot id in this run or the last one.
	BootID     string   `json:"boot_id,omitempty"`
	VMM        *VMM     `json:"vmm,omitempty"`
	Supervisor *Process `json:"supervisor,omitempty"`
	// Session says where a running VM's supervisor answers.
	Session *Session `json:"session,omitempty"`
	// SilentSince is when the supervisor stopped to answer; zero while it does.
	SilentSince time.Time `json:"silent_since,omitzero"`
	// GuestSilent says why the guest does not answer now, if nothing else here does.
	GuestSilent string `json:"guest_silent,omitempty"`
	// AgentGoneSince is when the guest's agent stopped to answer.
	AgentGoneSince time.Time `json:"agent_gone_since,omitzero"`
	// AgentEndedAt is when an agent of this run last ended, and the sessions with it;
	// another one may answer by now.
	AgentEndedAt time.Time `json:"agent_ended_at,omitzero"`
	// Held says why the VMM holds the guest still, in state paused.
	Held string `json:"held,omitempty"`
	// OutOfMemory is the last time in this run, or the last one, that the guest had no
	// memory left and its kernel killed a process.
	OutOfMemory *OutOfMemory `json:"out_of_memory,omitempty"`
	// DiskState is what this run, or the last one, has found of the VM's disk.
	DiskState vm.DiskState `json:"disk_state,omitempty"`
	// NotRecorded says why the state shown could not be written to disk.
	NotRecorded string `json:"not_recorded,omitempty"`
	// NotSaved says why work in the VM was not saved.
	NotSaved string `json:"not_saved,omitempty"`
	// Remove says that the VM goes with its session (--rm).
	Remove bool `json:"remove,omitempty"`
	// Workspaces are the repositories that went in.
	Workspaces []Workspace `json:"workspaces,omitempty"`
	Ending     *Ending     `json:"ending,omitempty"`
	// Dir is the VM's directory on the host.
	Dir string `json:"dir"`
	// DiskUsedBytes is the space that its disk takes on the host.
	DiskUsedBytes int64 `json:"disk_used_bytes"`
	// Notes are lines that a user should know: confinement that could not be
	// applied, slowness of emulation.
	Notes []string `json:"notes,omitempty"`
}

// Workspace is a repository that went into a VM.
type Workspace struct {
	GuestPath  string `json:"guest_path"`
	Repository string `json:"repository"`
	// Dir is the directory on the host of what came out of it.
	Dir string `json:"dir"`
	// SavedAt is when its work was last saved; zero before the first time. Final says
	// that nothing has run in the VM since.
	SavedAt time.Time `json:"saved_at,omitzero"`
	Final   bool      `json:"final,omitempty"`
}

// WorkspaceAdd gives a VM a workspace that was copied in.
type WorkspaceAdd struct {
	GuestPath  string `json:"guest_path"`
	Repository string `json:"repository"`
	// Staged names the directory, beneath the state directory's work, that the
	// client made; it becomes the daemon's.
	Staged string `json:"staged"`
}

// WorkspaceSave says which work is brought out.
type WorkspaceSave struct {
	// GuestPaths are the workspaces of a running VM that are asked; all if there is none.
	GuestPaths []string `json:"guest_paths,omitempty"`
}

// VMM is the VMM of a VM's run, or of its last one.
type VMM struct {
	Driver  string `json:"driver"`
	Version string `json:"version"`
	Accel   string `json:"accel"` // "kvm" or "tcg"
	// Discards says that what the guest discards of its disk goes back to the host.
	Discards bool     `json:"discards"`
	Why      string   `json:"why"`
	PID      int      `json:"pid,omitempty"` // 0 when none runs
	Gaps     []string `json:"gaps,omitempty"`
}

// OutOfMemory is a process that the guest's kernel killed because the guest had no
// memory left.
type OutOfMemory struct {
	At      time.Time `json:"at"`
	Process string    `json:"process"` // its name, escaped
}

// Process is a process of a VM on the host.
type Process struct {
	PID int `json:"pid"`
}

// Ending is how a VM's last run ended.
type Ending struct {
	At      time.Time `json:"at"`
	Cause   string    `json:"cause"` // one of vm's Cause constants
	Detail  string    `json:"detail,omitempty"`
	Hint    string    `json:"hint,omitempty"`
	Forced  bool      `json:"forced,omitempty"`
	Console []string  `json:"console,omitempty"`
}

// Create asks for a new VM. An empty Name lets the daemon make one.
type Create struct {
	Name  string `json:"name"`
	Spec  Spec   `json:"spec"`
	Start bool   `json:"start"`
	// Remove ties the VM to the calling process: when that ends, the VM is
	// deleted (--rm).
	Remove bool `json:"remove,omitempty"`
	// Force starts the VM although the host's memory does not hold it.
	Force bool `json:"force,omitempty"`
	Wait  Wait `json:"wait,omitempty"`
	// Copy says that a copy into the guest follows: until it is there the image's init
	// waits, for 3 seconds at most, so that the guest's processor is the copy's.
	Copy bool `json:"copy,omitempty"`
	// Env are variables of the caller's, NAME=VALUE each, that name upstream proxies and
	// registries of package clients; others are left out. They count at each start of the VM.
	// They may hold credentials, which no answer has.
	Env []string `json:"env,omitempty"`
}

// Wait is how far a start is waited for.
type Wait string

// Waits.
const (
	WaitAgent  Wait = ""       // until commands can be run in the guest
	WaitSystem Wait = "system" // until the guest's init has started its services
)

// Start asks for a VM to run.
type Start struct {
	Force bool `json:"force,omitempty"`
	// Repair repairs the VM's disk first; a VM that is restarted is not repaired.
	Repair bool `json:"repair,omitempty"`
	Wait   Wait `json:"wait,omitempty"`
}

// Stop asks for a graceful end.
type Stop struct{}

// Kill asks for the end of the VMM by a signal.
type Kill struct {
	// Signal is one of TERM, KILL, INT, HUP, QUIT, USR1, USR2, ABRT; "" is KILL.
	Signal string `json:"signal,omitempty"`
}

// Delete asks for a VM to go.
type Delete struct {
	// Force ends a running VM first.
	Force bool `json:"force,omitempty"`
	// Discard removes the disk at once, past the trash.
	Discard bool `json:"discard,omitempty"`
}

// Deleted is the answer to Delete.
type Deleted struct {
	VM VM `json:"vm"`
	// Trashed says that the disk is in the trash; TrashBytes is what emptying the
	// trash would free.
	Trashed    bool  `json:"trashed"`
	TrashBytes int64 `json:"trash_bytes"`
}

// Set changes a VM. A zero field stays as it is.
type Set struct {
	Name    string `json:"name,omitempty"`
	VCPUs   int    `json:"vcpus,omitempty"`
	MemMiB  int64  `json:"mem_mib,omitempty"`
	DiskMiB int64  `json:"disk_mib,omitempty"` // larger than it is
	// TTLSeconds is a new time to live of each run; -1 takes it away.
	TTLSeconds int64 `json:"ttl_seconds,omitempty"`
	// TZ is a new time zone, from the next start on; "none" takes it away.
	TZ string `json:"tz,omitempty"`
	// Network changes what the guest may reach, at once.
	Network *SetNetwork `json:"network,omitempty"`
}

// SetNetwork changes what a VM's guest may reach.
type SetNetwork struct {
	Egress string `json:"egress,omitempty"` // a new profile
	// Allow and Deny are rules that are added, Forget those that are taken away.
	Allow  []string `json:"allow,omitempty"`
	Deny   []string `json:"deny,omitempty"`
	Forget []string `json:"forget,omitempty"`
}

// WaitFor asks for the moment when a VM has a state.
type WaitFor struct {
	// State is a vm.State, or "gone".
	State string `json:"state"`
}

// StateGone is the state of a VM that no longer exists, for WaitFor.
const StateGone = "gone"

// Prune asks for the VMs that don't run to be deleted.
type Prune struct {
	// IDs are the VMs to delete, as an earlier answer to DryRun named them; none
	// means all that don't run.
	IDs    []vm.ID `json:"ids,omitempty"`
	DryRun bool    `json:"dry_run,omitempty"`
}

// Pruned is the answer to Prune.
type Pruned struct {
	// VMs are those that were deleted, or would be.
	VMs        []VM  `json:"vms"`
	TrashBytes int64 `json:"trash_bytes"`
}

// Logs asks for a VM's console.
type Logs struct {
	Follow bool `json:"follow,omitempty"`
	// New leaves out what was written before the call.
	New bool `json:"new,omitempty"`
}

// Session is where a running VM's supervisor answers: a Unix socket that
// speaks HTTP/1.1; GET /v1/dial?port=N with "Upgrade: banger-stream" turns the
// connection into a stream to the guest's service on port N.
type Session struct {
	ID     vm.ID  `json:"id"`
	Name   string `json:"name"`
	Socket string `json:"socket"`
	// Dir is where commands run unless they say otherwise: the VM's workspace, if it
	// has exactly one; "" is root's home.
	Dir string `json:"dir,omitempty"`
}

// Health is how a VM is, seen from outside and by its guest's agent.
type Health struct {
	Healthy bool `json:"healthy"`
	// Problems says what is wrong, a line each.
	Problems []string `json:"problems,omitempty"`
	State    vm.State `json:"state"`
	// Guest is what the agent says; nil when it does not answer.
	Guest *GuestHealth `json:"guest,omitempty"`
}

// GuestHealth is the guest's own view.
type GuestHealth struct {
	UptimeMillis int64  `json:"uptime_millis"`
	Init         string `json:"init"` // "systemd", "other" or "agent"
	MemTotalKiB  int64  `json:"mem_total_kib"`
	MemFreeKiB   int64  `json:"mem_free_kib"`
	DiskTotalKiB int64  `json:"disk_total_kib"`
	DiskFreeKiB  int64  `json:"disk_free_kib"`
	Processes    int    `json:"processes"` // processes started by exec
}

// Stats is what a running VM takes of the host, since its VMM was started.
type Stats struct {
	ID    vm.ID     `json:"id"`
	Name  string    `json:"name"`
	At    time.Time `json:"at"`
	Since time.Time `json:"since"` // the VMM's start
	// CPUMillis is the VMM's CPU time, VCPUs what it could use at most.
	CPUMillis int64 `json:"cpu_millis"`
	VCPUs     int   `json:"vcpus"`
	// MemRSSKiB is the VMM's resident memory, MemPSSKiB with shared pages split
	// among those who share them (0 when the kernel does not tell), MemLimitKiB
	// the guest's memory.
	MemRSSKiB   int64 `json:"mem_rss_kib"`
	MemPSSKiB   int64 `json:"mem_pss_kib"`
	MemLimitKiB int64 `json:"mem_limit_kib"`
	// ReadBytes and WrittenBytes went between the VMM and the host's storage.
	ReadBytes    int64 `json:"read_bytes"`
	WrittenBytes int64 `json:"written_bytes"`
	// DiskOwnBytes is the space of the VM's own disk, DiskSharedBytes that of
	// the base image and kernel, which other VMs share.
	DiskOwnBytes    int64 `json:"disk_own_bytes"`
	DiskSharedBytes int64 `json:"disk_shared_bytes"`
}

// Image is a base image.
type Image struct {
	Ref       string    `json:"ref"`    // "debian-12"
	Digest    string    `json:"digest"` // "sha256:…", of the ext4 file
	SizeBytes int64     `json:"size_bytes"`
	CreatedAt time.Time `json:"created_at"`
	Source    string    `json:"source"` // "debian bookworm, mmdebstrap 1.3.5"
	// Packages are those that were asked for beside the default image's.
	Packages []string `json:"packages,omitempty"`
	Default  bool     `json:"default"`
	// Outdated says that the default image is of an older recipe: the next VM that
	// asks for it gets a new one.
	Outdated bool   `json:"outdated,omitempty"`
	Path     string `json:"path"`
	// UsedBy are the names of the VMs that were made from it; only ShowImage tells.
	UsedBy []string `json:"used_by,omitempty"`
}

// ImageBuild asks for the image behind Ref ("" is the default) to be built
// anew even if it exists.
type ImageBuild struct {
	Ref string `json:"ref"`
	// Packages are Debian's, beside the default image's; they need a Ref.
	Packages []string `json:"packages,omitempty"`
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
	// NotSaved says why work in it was not saved; such an entry stays until it
	// is dropped by name.
	NotSaved string `json:"not_saved,omitempty"`
	// Session says that the VM went with its session (--rm).
	Session bool `json:"session,omitempty"`
}

// TrashEmpty asks for the trash to be emptied.
type TrashEmpty struct {
	// Refs are the entries to drop, by name or id; none means all but those with
	// work that was not saved.
	Refs []string `json:"refs,omitempty"`
}

// TrashEmptied is the answer to TrashEmpty.
type TrashEmptied struct {
	Entries   int   `json:"entries"`
	UsedBytes int64 `json:"used_bytes"`
	// Kept are entries with work that was not saved.
	Kept []TrashEntry `json:"kept,omitempty"`
}

// TrashRestore takes a VM out of the trash. Name, if it is not empty, is its new
// name.
type TrashRestore struct {
	Name string `json:"name,omitempty"`
}

// Stage names a step of a long call.
type Stage string

// Stages.
const (
	StageImage  Stage = "image"
	StageKernel Stage = "kernel"
	StageQueue  Stage = "queue" // another verb on the same VM is under way
	StageBoot   Stage = "boot"
	StageSystem Stage = "system" // the guest's services are starting
	StageStop   Stage = "stop"
	StageDelete Stage = "delete"
	StageWait   Stage = "wait"
	StageCopy   Stage = "copy" // a repository goes in
	StageSave   Stage = "save" // work comes out
)

// Event is one line of a long call's answer.
type Event struct {
	Stage Stage `json:"stage,omitempty"`
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
