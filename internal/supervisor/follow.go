package supervisor

import (
	"context"
	"time"

	"banger/internal/channel/control"
	"banger/internal/vm"
)

// follow hears what the guest's agent says by itself until ctx ends, from each agent
// that there is.
func (g *guard) follow(ctx context.Context) {
	for ctx.Err() == nil {
		s, changed := g.r.now()
		if s.Phase != Ready || !s.AgentGoneSince.IsZero() {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		answered := false
		err := g.r.guest(g.m).Events(ctx, func(e control.Event) {
			answered = true
			g.r.heard(e)
		})
		ended := time.Now().UTC()
		select {
		case <-time.After(endPause):
		case <-ctx.Done():
			return
		}
		g.r.log.Info("the guest's agent says no more", "err", err)
		if answered {
			g.r.update(func(s *Status) { s.AgentEndedAt = ended })
		}
		select {
		case g.broke <- struct{}{}: // is it gone?
		default:
		}
		select {
		case <-time.After(lookPause):
		case <-ctx.Done():
		}
	}
}

// endPause is what a VMM has to end in before the agent of its guest is looked for:
// a guest's end breaks the stream first.
const endPause = 300 * time.Millisecond

// heard takes one event of the agent's.
func (r *run) heard(e control.Event) {
	r.foundDisk(e.Disk)
	if e.Ports != nil {
		p := listeners(*e.Ports)
		r.listens.Store(&p)
		if n := r.network.Load(); n != nil {
			n.forwards.hear(p)
		}
	}
	o := e.OutOfMemory
	if o == nil {
		return
	}
	at := time.Now().Add(-time.Duration(max(o.AgoMillis, 0)) * time.Millisecond).UTC()
	killed := vm.OutOfMemory{At: at.Truncate(time.Millisecond), Process: escape(o.Process[:min(len(o.Process), maxProcess)])}
	r.log.Warn("the guest ran out of memory", "killed", killed.Process, "kills", o.Kills)
	r.update(func(s *Status) { s.OutOfMemory = &killed })
}

// diskStates are those that an agent may say.
var diskStates = map[control.DiskState]vm.DiskState{
	control.DiskChecked: vm.DiskChecked, control.DiskRepaired: vm.DiskRepaired,
	control.DiskErrors: vm.DiskErrors, control.DiskReadOnly: vm.DiskReadOnly,
}

// foundDisk takes what the agent has found of the VM's disk.
func (r *run) foundDisk(found control.DiskState) {
	d := diskStates[found]
	if s, _ := r.now(); d == "" || d == s.Disk {
		return
	}
	r.log.Warn("the VM's disk", "state", d)
	r.update(func(s *Status) { s.Disk = d })
}

// maxProcess bounds the name of a guest's process, in bytes: the kernel's have 15.
const maxProcess = 64
