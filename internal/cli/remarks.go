package cli

import (
	"strings"
	"time"

	"banger/internal/api"
	"banger/internal/vm"
)

// remark is a fact about a VM that its state does not tell. key names it in
// vm show, short tells it in vm list.
type remark struct{ key, long, short string }

// remarks are what a user should know of v beside its state, the most urgent
// first.
func remarks(v api.VM, now time.Time) (out []remark) {
	add := func(key, long, short string) { out = append(out, remark{key, clean(long), clean(short)}) }
	if !v.SilentSince.IsZero() {
		text := "its supervisor does not answer since " + moment(v.SilentSince)
		add("silent", text, "does not answer since "+clock(v.SilentSince, now))
	}
	if v.GuestSilent != "" {
		add("silent", v.GuestSilent, "does not answer")
	}
	if v.Held != "" {
		add("held", "the VMM holds it still: "+v.Held, v.Held)
	}
	if !v.AgentGoneSince.IsZero() {
		add("agent", "its agent is gone since "+moment(v.AgentGoneSince)+": commands can't run; if it does not come back by itself: banger vm restart "+v.Name,
			"agent gone since "+clock(v.AgentGoneSince, now))
	}
	if o := v.OutOfMemory; o != nil {
		add("out of memory", "its kernel killed "+o.Process+" at "+moment(o.At)+": it has "+vm.FormatMiB(v.Spec.MemMiB)+
			"; vm set --memory", "")
	}
	if long := diskTexts[v.DiskState]; long != "" {
		add("root", strings.ReplaceAll(long, "NAME", v.Name), shortDiskTexts[v.DiskState])
	}
	if v.Operation != "" {
		add("under way", v.Operation, v.Operation+" is under way")
	}
	if v.NotRecorded != "" {
		add("not recorded", "this state could not be written to disk: "+v.NotRecorded, "not recorded")
	}
	if v.NotSaved != "" {
		add("not saved", "work in it was not saved: "+v.NotSaved, "not saved")
	}
	switch {
	case !v.EndsAt.IsZero():
		add("ends", "in "+left(v.EndsAt.Sub(now))+", at "+moment(v.EndsAt), "ends in "+left(v.EndsAt.Sub(now)))
	case v.Spec.TTLSeconds > 0:
		add("ttl", "each run ends after "+(time.Duration(v.Spec.TTLSeconds)*time.Second).String(), "")
	}
	if v.Remove {
		add("goes with", "its session (--rm)", "")
	}
	if e := v.Ending; e != nil && v.State == vm.Error {
		add("", "", endingText(*e))
	}
	return out
}

// diskTexts say what a run has found of a VM's disk.
var (
	diskTexts = map[vm.DiskState]string{
		vm.DiskChecked:  "a write to its disk had failed in an earlier run; its metadata were checked, and are whole",
		vm.DiskRepaired: "its disk was repaired: vm logs says what was lost",
		vm.DiskErrors:   "its disk gave errors: what was not synced by then may be lost; when the host's disk is well: banger vm restart NAME",
		vm.DiskReadOnly: "its disk gave errors, and it takes no more writes: what was synced is safe; when the host's disk is well: banger vm restart NAME",
	}
	shortDiskTexts = map[vm.DiskState]string{
		vm.DiskErrors: "errors of its disk", vm.DiskReadOnly: "errors of its disk, it is read-only",
	}
)

// silence says why a VM's guest may not answer, or "".
func silence(v api.VM) string {
	for _, r := range remarks(v, time.Now()) {
		if r.key == "silent" || r.key == "held" || r.key == "agent" {
			return r.long
		}
	}
	return ""
}

// clock is a time of today as the user's clock shows it, and a day with it
// otherwise.
func clock(t, now time.Time) string {
	if now.Sub(t) < 12*time.Hour {
		return t.Local().Format(time.TimeOnly)
	}
	return moment(t)
}

// endings are the causes of an end for people. An Ending's Detail adds to those
// of the first kind; those of the second are said by the Detail alone, if there
// is one, so that nothing is said twice.
var (
	plainEndings = map[string]string{
		vm.CauseStopped: "stopped", vm.CauseKilled: "killed", vm.CauseHostBoot: "the host was started again",
		vm.CauseCancelled: "its start was given up",
	}
	toldEndings = map[string]string{
		vm.CauseGuest: "the guest ended itself", vm.CausePanic: "the guest's kernel panicked", vm.CauseVMM: "the VMM ended",
		vm.CauseBoot: "it did not come up", vm.CauseLost: "it was lost",
		vm.CauseMemory: "the host ran out of memory and its kernel killed the VMM",
	}
)

// endingText is an ending for people.
func endingText(e api.Ending) string {
	text, plain := plainEndings[e.Cause]
	if !plain {
		if text = toldEndings[e.Cause]; text == "" {
			text, plain = clean(e.Cause), true
		}
	}
	if !plain && e.Detail != "" && e.Cause != vm.CauseMemory {
		text = clean(e.Detail)
	}
	if e.Forced {
		text += ", by force"
	}
	if plain && e.Detail != "" {
		text += ": " + clean(e.Detail)
	}
	return text
}
