package doctor

import (
	"context"

	"banger/internal/kvm"
)

// costNoKVM is what VMs without KVM cost.
const costNoKVM = "VMs are emulated: everything works, about ten times slower"

// checkKVM looks as the drivers do, and where they would take KVM runs a guest
// of a few instructions to see it work. Nothing of it is a failure: VMs run
// without.
func checkKVM(ctx context.Context, e Env) Result {
	f := kvm.Look(e.KVM, e.Proc)
	if !f.Usable {
		return Result{Status: Warn, Detail: f.Why, Cost: costNoKVM, Fix: e.asUser(f.Fix)}
	}
	program, err := e.FindDaemon()
	if err != nil {
		return Result{Status: OK, Detail: f.Why + "; without bangerd it can't be tried"} // checkPrograms says why
	}
	if err := e.ProbeKVM(ctx, program); err != nil {
		return Result{Status: Warn, Detail: "KVM does not work, though " + f.Why + ": " + err.Error(),
			Cost: "VMs are started on it all the same, and hang or fail"}
	}
	return Result{Status: OK, Detail: f.Why + "; a guest of a few instructions ran"}
}

// checkNested says on which level of machine this host is; either is good.
func checkNested(_ context.Context, e Env) Result {
	detail := "this host is no virtual machine"
	f := kvm.Look(e.KVM, e.Proc)
	if f.Guest {
		detail = "this host is itself a virtual machine"
		if f.Usable {
			detail += ", whose host lets it run VMs of its own: they are slower here"
		}
	}
	if nested, known := kvm.Nested(e.Sys); known && nested {
		detail += "; its VMs' CPUs may offer virtualisation again"
	}
	return Result{Status: OK, Detail: detail}
}
