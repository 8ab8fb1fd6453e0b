package api

import "net/http"

// Fault is an error as it crosses the socket: the body of every answer that is
// not 2xx, or the last Event of a stream.
type Fault struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`  // what to type next
	Field   string `json:"field,omitempty"` // the flag at fault, for CodeInvalid
	// Console is the last lines of the guest's console, where a boot failed.
	Console []string `json:"console,omitempty"`
	// Op is the operation's id in the daemon's log.
	Op string `json:"op,omitempty"`
	// VM is the name of a VM that was kept for a look.
	VM string `json:"vm,omitempty"`
}

// Error is the message alone; the hint is printed at the edge.
func (f *Fault) Error() string { return f.Message }

// Code is the kind of a fault, for programs.
type Code string

// Codes of faults.
const (
	CodeInvalid   Code = "invalid"   // the request can't be meant
	CodeNotFound  Code = "not-found" // no such VM, image, kernel
	CodeAmbiguous Code = "ambiguous" // a prefix of several ids
	CodeExists    Code = "exists"    // the name is taken
	CodeState     Code = "state"     // the VM's state does not allow it
	CodeMissing   Code = "missing"   // the host lacks a program or a right
	CodeNoSpace   Code = "no-space"  // a disk, or a bound of banger's, is full
	CodeMemory    Code = "memory"    // the host has not enough memory
	CodeReadOnly  Code = "read-only" // a file system of banger's can't be written
	CodeDamaged   Code = "damaged"   // a file of banger's can't be read
	CodeSilent    Code = "silent"    // a process of the VM does not answer
	CodeEnded     Code = "ended-by"  // another verb on the VM went before
	CodeBoot      Code = "boot"      // the guest did not come up
	CodeCancelled Code = "cancelled" // the caller gave up
	CodeVersion   Code = "version"   // CLI and daemon, or program and file, differ
	CodeInternal  Code = "internal"  // anything else
)

// status is the one table from codes to HTTP statuses.
var status = map[Code]int{
	CodeInvalid:   http.StatusBadRequest,
	CodeNotFound:  http.StatusNotFound,
	CodeAmbiguous: http.StatusConflict,
	CodeExists:    http.StatusConflict,
	CodeState:     http.StatusConflict,
	CodeMissing:   http.StatusFailedDependency,
	CodeNoSpace:   http.StatusInsufficientStorage,
	CodeMemory:    http.StatusInsufficientStorage,
	CodeReadOnly:  http.StatusInsufficientStorage,
	CodeDamaged:   http.StatusInternalServerError,
	CodeSilent:    http.StatusGatewayTimeout,
	CodeEnded:     http.StatusConflict,
	CodeBoot:      http.StatusBadGateway,
	CodeCancelled: 499,
	CodeVersion:   http.StatusUpgradeRequired,
	CodeInternal:  http.StatusInternalServerError,
}

// Status returns the HTTP status of a code; an unknown code is internal.
func Status(code Code) int {
	if s, ok := status[code]; ok {
		return s
	}
	return http.StatusInternalServerError
}
