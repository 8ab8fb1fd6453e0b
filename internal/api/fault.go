package api

import "net/http"

// Fault is an error as it crosses the socket: the body of every answer that is
// not 2xx, or the last Event of a stream.
type Fault struct {
	Code    string `json:"code"` // one of the Code constants
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

// Codes of faults.
const (
	CodeInvalid   = "invalid"   // the request can't be meant
	CodeNotFound  = "not-found" // no such VM, image, kernel
	CodeAmbiguous = "ambiguous" // a prefix of several ids
	CodeExists    = "exists"    // the name is taken
	CodeState     = "state"     // the VM's state does not allow it
	CodeMissing   = "missing"   // the host lacks a program or a right
	CodeNoSpace   = "no-space"  // a disk is full
	CodeBoot      = "boot"      // the guest did not come up
	CodeCancelled = "cancelled" // the caller gave up
	CodeVersion   = "version"   // CLI and daemon, or program and file, differ
	CodeInternal  = "internal"  // anything else
)

// status is the one table from codes to HTTP statuses.
var status = map[string]int{
	CodeInvalid:   http.StatusBadRequest,
	CodeNotFound:  http.StatusNotFound,
	CodeAmbiguous: http.StatusConflict,
	CodeExists:    http.StatusConflict,
	CodeState:     http.StatusConflict,
	CodeMissing:   http.StatusFailedDependency,
	CodeNoSpace:   http.StatusInsufficientStorage,
	CodeBoot:      http.StatusBadGateway,
	CodeCancelled: 499,
	CodeVersion:   http.StatusUpgradeRequired,
	CodeInternal:  http.StatusInternalServerError,
}

// Status returns the HTTP status of a code; an unknown code is internal.
func Status(code string) int {
	if s, ok := status[code]; ok {
		return s
	}
	return http.StatusInternalServerError
}
