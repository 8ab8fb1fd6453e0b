package supervisor

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Stop asks for the end of a run: first the guest's services, then the guest.
type Stop struct {
	// Discard skips the guest's services: its file systems are synced, then the
	// VMM is ended. For a VM that is deleted. The VMM is gone within 8 s, though the
	// guest does not answer.
	Discard bool `json:"discard"`
	// Cancelled says that the run was given up before it was ready.
	Cancelled bool `json:"cancelled"`

	host bool // the host asked, with SIGTERM
}

// Kill asks for the end of a run without the guest: the VMM gets the signal, and
// SIGKILL a second later. The VMM is gone within 2 s, whatever the phase.
type Kill struct {
	Signal string `json:"signal"` // as "SIGTERM" or "term"; "" is SIGKILL
}

// number returns the signal's.
func (k Kill) number() (unix.Signal, error) {
	if k.Signal == "" {
		return unix.SIGKILL, nil
	}
	sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(k.Signal), "SIG"))
	if sig == 0 {
		return 0, fmt.Errorf("signal %.20q is not known", k.Signal)
	}
	return sig, nil
}

// verb is a kind of request.
type verb string

// The requests that depend on the phase. Any phase answers status, events and
// console.
const (
	verbStop    verb = "stop"
	verbKill    verb = "kill"
	verbDial    verb = "dial"
	verbHealth  verb = "health"
	verbGrow    verb = "grow"
	verbPolicy  verb = "policy"
	verbForward verb = "forward"
	verbFlows   verb = "flows"
)

// takes is the one table of which request each phase takes. An end that is asked
// for again is under way: that is no error.
var takes = map[Phase][]verb{
	Launching: {verbStop, verbKill},
	Booting:   {verbStop, verbKill, verbPolicy, verbForward},
	Joining:   {verbStop, verbKill, verbPolicy, verbForward},
	Ready:     {verbStop, verbKill, verbDial, verbHealth, verbGrow, verbPolicy, verbForward, verbFlows},
	Ending:    {verbStop, verbKill, verbDial, verbHealth},
	Gone:      {verbStop, verbKill},
}

// check refuses a request that the phase does not take.
func check(p Phase, v verb) error {
	if slices.Contains(takes[p], v) {
		return nil
	}
	return &Refusal{Code: CodeState, Message: fmt.Sprintf("the VM is not ready: %s", p)}
}

// request is a stop or a kill on its way to the goroutine that owns the run,
// which answers each on reply, without waiting.
type request struct {
	stop  *Stop
	kill  unix.Signal // if stop is nil
	reply chan error  // has room for one
}

// post hands q to the run's owner. It returns once the owner has taken it. A run
// whose VMM is gone needs no end: that is no error.
func (r *run) post(ctx context.Context, q request) error {
	q.reply = make(chan error, 1)
	select {
	case r.requests <- q:
		return <-q.reply
	case <-r.over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Refusal is the body of an answer that is not 2xx, and the error of a Client's
// call. Its form is the one that package api's Fault has.
type Refusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func (r *Refusal) Error() string { return r.Message }

// Codes of a Refusal, spelled as package api's.
const (
	CodeInvalid  = "invalid"  // the request can't be meant
	CodeState    = "state"    // the run's phase does not allow it
	CodeSilent   = "silent"   // the VMM or the guest's agent does not answer
	CodeInternal = "internal" // anything else
)

// statuses is the one table from codes to HTTP statuses.
var statuses = map[string]int{
	CodeInvalid:  http.StatusBadRequest,
	CodeState:    http.StatusConflict,
	CodeSilent:   http.StatusGatewayTimeout,
	CodeInternal: http.StatusInternalServerError,
}

// Header carries the Protocol of each side, in every request and every answer.
const Header = "Banger-Supervisor"

// AgentHeader carries the channel.Protocol of the guest's agent on a dial's answer.
const AgentHeader = "Banger-Agent"

// Paths of the supervisor's socket, HTTP/1.1.
const (
	pathStatus  = "/v1/status"  // GET Status
	pathEvents  = "/v1/events"  // GET, a Status a line until the end
	pathStop    = "/v1/stop"    // POST Stop, answers at once
	pathKill    = "/v1/kill"    // POST Kill, answers at once
	pathDial    = "/v1/dial"    // GET ?port=N, Upgrade: banger-stream
	pathConsole = "/v1/console" // GET ?follow=true&from=now, raw bytes
	pathKeys    = "/v1/keys"    // GET, Upgrade: banger-stream: keys to the console, and what it shows from now on
	pathHealth  = "/v1/health"  // GET control.Health
	pathGrow    = "/v1/grow"    // POST, answers when the guest has taken its larger disk
	pathPolicy  = "/v1/policy"  // POST policy.Policy, answers with PolicySet
	pathForward = "/v1/forward" // POST ForwardChange, answers PortsState
	pathPorts   = "/v1/ports"   // GET PortsState
	pathFlows   = "/v1/flows"   // GET, Upgrade: banger-stream: a carrier of package channel/flow, on which another VM's supervisor opens flows to what listens in this one's guest
	pathNetwork = "/v1/network" // GET NetworkState; with ?name=NAME&port=N, what would become of a connection
)

// Upgrade is the protocol that a dialled connection turns into: raw bytes to
// the guest's service.
const Upgrade = "banger-stream"
