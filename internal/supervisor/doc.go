// Package supervisor is one run of a VM: it launches the VMM, brings the guest
// up to its joined root, owns the channel and the console, answers sessions,
// ends the guest, and writes down how the run ended.
//
// It runs as a process of its own (bangerd supervise DIR), started by the daemon
// and independent of it: the daemon may die, be upgraded and come back. It
// writes only inside its VM's directory. Client is the daemon's side of it, Spawn
// its start.
//
// A run has phases, a VM has states (package vm). The state is what the daemon
// records of the VM; the phase is how far one run is:
//
//	Phase        the run                           the VM's state
//
//	launching    the VMM is being started          starting
//	   │
//	booting      the VMM runs                      starting
//	   │ hello
//	joining      the guest joins its root          starting
//	   │ root joined
//	ready        sessions are answered             running; paused while Status.Held
//	   │ a stop, a kill, SIGTERM
//	ending       the guest was asked to end        stopping, deleting
//	   │ the VMM is gone
//	gone         the end is in run.json            stopped, or error before ready
//
// A run can go to ending from any phase, and from any phase to gone: a VMM may
// break, a guest may end itself. One goroutine (run.live) moves the phase and
// takes the requests that change it; takes (request.go) is the one table of which
// request each phase takes.
package supervisor
