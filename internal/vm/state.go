package vm

import "fmt"

// State is where a VM stands. It is the user's view of a VM's life; how far one
// run is, package supervisor's Phase says.
type State string

// The states. A VM's disk exists in all of them but the end of Deleting.
const (
	Created  State = "created"  // recorded, never started
	Starting State = "starting" // a supervisor is bringing it up
	Running  State = "running"  // its agent has joined the root
	Paused   State = "paused"   // its VMM holds it still
	Stopping State = "stopping" // told to end
	Stopped  State = "stopped"  // no process of it is left
	Error    State = "error"    // the last start did not reach running; kept for a look
	Deleting State = "deleting" // told to go; its processes end first
)

// Event is what moves a VM from one state to another.
type Event string

// The events. Intent (Start, Stop, Kill, Delete) is recorded before its effect.
const (
	Start  Event = "start"  // intent: somebody asked for it to run
	Ready  Event = "ready"  // the agent reported the root joined
	Fail   Event = "fail"   // bring-up ended in an error
	Stop   Event = "stop"   // intent: somebody asked for it to end
	Ended  Event = "ended"  // the VMM is gone, whatever the reason
	Pause  Event = "pause"  // the VMM reported it held still
	Resume Event = "resume" // the VMM reported it going on
	Kill   Event = "kill"   // intent: somebody asked for its end by force
	Delete Event = "delete" // intent: somebody asked for it to go
)

// table is the only place that says what an event does. A pair that is absent
// is refused.
var table = map[State]map[Event]State{
	Created:  {Start: Starting, Ended: Created, Delete: Deleting},
	Starting: {Start: Starting, Ready: Running, Fail: Error, Stop: Stopping, Kill: Stopping, Ended: Error, Delete: Deleting},
	Running:  {Stop: Stopping, Kill: Stopping, Ended: Stopped, Pause: Paused, Delete: Deleting},
	Paused:   {Resume: Running, Stop: Stopping, Kill: Stopping, Ended: Stopped, Delete: Deleting},
	Stopping: {Stop: Stopping, Kill: Stopping, Ended: Stopped, Fail: Stopped, Delete: Deleting},
	Stopped:  {Start: Starting, Ended: Stopped, Delete: Deleting},
	Error:    {Start: Starting, Ended: Error, Delete: Deleting},
	Deleting: {Delete: Deleting, Kill: Stopping, Ended: Deleting, Fail: Deleting},
}

// MoveError is an event that a state does not allow.
type MoveError struct {
	State State
	Event Event
}

func (e *MoveError) Error() string {
	return fmt.Sprintf("a VM that is %s can't take the event %q", e.State, e.Event)
}

// Next returns the state that event leads to from s, or a *MoveError.
func Next(s State, event Event) (State, error) {
	next, ok := table[s][event]
	if !ok {
		return s, &MoveError{s, event}
	}
	return next, nil
}

// Live reports whether a VM in state s has, or may have, processes.
func (s State) Live() bool {
	return s == Starting || s == Running || s == Paused || s == Stopping || s == Deleting
}
