package daemon

import (
	"slices"

	"banger/internal/api"
	"banger/internal/instance"
	"banger/internal/supervisor"
	"banger/internal/vm"
)

// show is a VM as its user sees it: what is recorded and what is known now, field
// by field, so that nothing private goes out by default.
func show(i *instance.Instance) api.VM {
	v := i.View()
	rec := v.Record
	out := api.VM{
		ID: rec.ID, Name: rec.Spec.Name, State: rec.State, Operation: v.Operation,
		Spec: api.Spec{Image: rec.Spec.Image, Kernel: rec.Spec.Kernel, VCPUs: rec.Spec.VCPUs, MemMiB: rec.Spec.MemMiB,
			DiskMiB: rec.Spec.DiskMiB, Driver: rec.Spec.Driver, TTLSeconds: rec.Spec.TTLSeconds, TZ: rec.Spec.TZ, Network: rec.Spec.Network},
		ImageDigest: rec.ImageDigest, KernelDigest: rec.KernelDigest,
		CreatedAt: rec.CreatedAt, StartedAt: rec.StartedAt, EndsAt: v.EndsAt(), BootID: rec.Run.BootID,
		SilentSince: v.Silent, AgentGoneSince: v.Status.AgentGoneSince, AgentEndedAt: v.Status.AgentEndedAt, Held: v.Status.Held, GuestSilent: v.Status.Silent,
		DiskState: rec.Run.Disk, NotRecorded: v.NotRecorded, NotSaved: rec.NotSaved, Remove: rec.Remove,
		Dir: i.Dir(), DiskUsedBytes: i.DiskUsed(),
	}
	if run := rec.Run; run.Driver != "" {
		out.VMM = &api.VMM{Driver: run.Driver, Version: run.Version, Accel: run.Accel, Why: run.Why, Discards: run.Discards, Gaps: run.Gaps}
		if run.VMM != nil {
			out.VMM.PID = run.VMM.PID
		}
		if run.Supervisor != nil {
			out.Supervisor = &api.Process{PID: run.Supervisor.PID}
		}
	}
	if v.HasRun && !rec.Run.ForWork && slices.Contains([]vm.State{vm.Running, vm.Paused}, rec.State) {
		out.Session = &api.Session{ID: rec.ID, Name: rec.Spec.Name, Socket: supervisor.SocketPath(i.Dir())}
	}
	for _, w := range rec.Workspaces {
		shown := api.Workspace{GuestPath: w.GuestPath, Repository: w.Repository, Dir: i.WorkDir(w)}
		if w.Saved != nil {
			shown.SavedAt, shown.Final = w.Saved.At, w.Saved.Final
		}
		out.Workspaces = append(out.Workspaces, shown)
	}
	if out.Session != nil && len(rec.Workspaces) == 1 {
		out.Session.Dir = rec.Workspaces[0].GuestPath
	}
	if !v.HasRun {
		out.NotSaved = rec.Unsaved()
	}
	if o := rec.Run.OutOfMemory; o != nil {
		out.OutOfMemory = &api.OutOfMemory{At: o.At, Process: o.Process}
	}
	if e := rec.Ending; e != nil {
		out.Ending = &api.Ending{At: e.At, Cause: e.Cause, Detail: e.Detail, Hint: e.Hint, Forced: e.Forced, Console: e.Console}
	}
	if v.HasRun {
		if rec.Run.ForWork {
			out.Notes = append(out.Notes, "it runs only until its work is saved, without its services")
		}
		if rec.Run.Accel == "tcg" {
			out.Notes = append(out.Notes, "emulated, about ten times slower than with KVM: "+rec.Run.Why)
		}
		out.Notes = append(out.Notes, v.Status.NotForwarded...)
		for _, g := range rec.Run.Gaps {
			out.Notes = append(out.Notes, "confinement: "+g)
		}
	}
	return out
}
