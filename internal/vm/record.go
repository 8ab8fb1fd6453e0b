package vm

import "time"

// RecordFormat is the version of Record's JSON. A record of another format is
// refused untouched: nothing is released yet, so no older form is read.
const RecordFormat = 4

// Process identifies a process for good: a pid alone is reused, so it is only
// valid together with the boot it ran in and its start time.
type Process struct {
	BootID string `json:"boot_id"` // /proc/sys/kernel/random/boot_id
	PID    int    `json:"pid"`
	// StartTicks is field 22 of /proc/PID/stat: clock ticks since boot.
	StartTicks uint64 `json:"start_ticks"`
}

// Record is all that banger keeps of one VM. The database holds it, and the
// VM's directory carries a copy (vm.json), so that either can be rebuilt from
// the other. It is private to the daemon: package api has its own view of a VM.
type Record struct {
	Format    int       `json:"format"`
	ID        ID        `json:"id"`
	Spec      Spec      `json:"spec"`
	State     State     `json:"state"`
	CreatedAt time.Time `json:"created_at"`
	// StartedAt is the time of the last start; zero before the first one.
	StartedAt time.Time `json:"started_at,omitzero"`
	// ImageDigest and KernelDigest name the base image and kernel that the VM
	// was made from ("sha256:…"); they never change afterwards.
	ImageDigest  string `json:"image_digest"`
	KernelDigest string `json:"kernel_digest"`
	// HostKey is the public half of the host key of the VM's SSH service, as a line of
	// authorized_keys; "" before the first start.
	HostKey string `json:"host_key,omitempty"`
	// Run is the run that the VM has, or had last.
	Run Run `json:"run,omitzero"`
	// Remove ties the VM to a session (--rm). Holder is that session's process:
	// when it is gone, the VM is deleted.
	Remove bool     `json:"remove,omitempty"`
	Holder *Process `json:"holder,omitempty"`
	// Restart says that a VM in state stopping is to be started again.
	Restart bool `json:"restart,omitempty"`
	// Discard says that a VM in state deleting skips the trash.
	Discard bool `json:"discard,omitempty"`
	// NotSaved says why work in the VM was not saved; "" when all was. The trash
	// never gives up such a VM by itself.
	NotSaved string `json:"not_saved,omitempty"`
	// Workspaces are the repositories that went in, in that order.
	Workspaces []Workspace `json:"workspaces,omitempty"`
	// Ending says how the last run ended; nil before the first end.
	Ending *Ending `json:"ending,omitempty"`
}

// Workspace is a repository that went into a VM.
type Workspace struct {
	GuestPath  string `json:"guest_path"` // absolute
	Repository string `json:"repository"` // the user's work tree
	// Store names the directory of what banger keeps of it, beneath the state
	// directory's work.
	Store string `json:"store"`
	// Saved is the last time that its work came out; nil before the first.
	Saved *Saved `json:"saved,omitempty"`
}

// Saved is a moment at which all work in a workspace was saved.
type Saved struct {
	At     time.Time `json:"at"`
	BootID string    `json:"boot_id"` // the guest's
	// Final says that nothing has run in the guest since: it was stopped then.
	Final bool `json:"final,omitempty"`
}

// Unsaved says why work in a VM that does not run is not saved; "" when all of it
// is. Whatever ran since the last save may have changed a workspace.
func (r Record) Unsaved() string {
	if r.NotSaved != "" {
		return r.NotSaved
	}
	for _, w := range r.Workspaces {
		if w.Saved == nil || !w.Saved.Final {
			return "the guest ended before the work in " + w.GuestPath + " was saved"
		}
	}
	return ""
}

// Run is one run of a VM: from a supervisor's launch to its VMM's end.
type Run struct {
	// HostBootID is the host's boot in which the run was asked for.
	HostBootID string `json:"host_boot_id,omitempty"`
	// Driver, its program's Version, Accel and Why say which VMM was chosen and
	// why that one.
	Driver  string `json:"driver,omitempty"`
	Version string `json:"version,omitempty"`
	Accel   string `json:"accel,omitempty"`
	Why     string `json:"why,omitempty"`
	// Discards says that what the guest discards of its disk goes back to the host.
	Discards bool `json:"discards,omitempty"`
	// Gaps says in words, a line each, what of the VMM's confinement could not
	// be applied.
	Gaps []string `json:"gaps,omitempty"`
	// ForWork says that the run is only to bring out the work of a VM that is not to
	// run: without the image's init, and ended as soon as that is done.
	ForWork bool `json:"for_work,omitempty"`
	// BootID is the guest's own boot id; "" before the guest said hello.
	BootID string `json:"boot_id,omitempty"`
	// OutOfMemory is the last time that the guest ran out of memory; nil if it did
	// not.
	OutOfMemory *OutOfMemory `json:"out_of_memory,omitempty"`
	// Disk is what the run has found of the VM's disk.
	Disk DiskState `json:"disk,omitempty"`
	// Supervisor is the process that owns the run, VMM is the VMM's process; nil
	// when it is not known or gone.
	Supervisor *Process `json:"supervisor,omitempty"`
	VMM        *Process `json:"vmm,omitempty"`
}

// DiskState is what a run has found of its VM's disk; "" is nothing bad.
type DiskState string

// The states of a disk.
const (
	DiskChecked  DiskState = "checked"   // its metadata were in doubt at the run's beginning, and are whole
	DiskRepaired DiskState = "repaired"  // it was repaired at the run's beginning
	DiskErrors   DiskState = "errors"    // the guest was given an error
	DiskReadOnly DiskState = "read-only" // the root takes no more writes because of one
)

// OutOfMemory is a process that a guest's kernel killed because the guest had no
// memory left.
type OutOfMemory struct {
	At      time.Time `json:"at"`      // by the host's clock
	Process string    `json:"process"` // its name, escaped
}

// Ending is how a run of a VM ended.
type Ending struct {
	At time.Time `json:"at"`
	// Cause is one of the Cause constants.
	Cause string `json:"cause"`
	// Detail is for a person; guest text in it is escaped.
	Detail string `json:"detail,omitempty"`
	// Hint is what the user can type about it.
	Hint string `json:"hint,omitempty"`
	// Forced says that the guest did not end in its time.
	Forced bool `json:"forced,omitempty"`
	// Console is the last lines of the console, escaped, at most 20.
	Console []string `json:"console,omitempty"`
}

// Causes of an Ending.
const (
	CauseStopped   = "stopped"   // banger was asked to stop it
	CauseKilled    = "killed"    // banger was asked to kill it
	CauseGuest     = "guest"     // the guest powered off or rebooted
	CausePanic     = "panic"     // the guest's kernel panicked
	CauseVMM       = "vmm"       // the VMM ended by itself or was killed
	CauseMemory    = "memory"    // the host's kernel killed the VMM because memory ran out
	CauseBoot      = "boot"      // bring-up did not reach the joined root
	CauseLost      = "lost"      // found gone: a crash of the supervisor
	CauseHostBoot  = "host-boot" // found gone after the host was started again
	CauseCancelled = "cancelled" // the request that started it was given up
)
