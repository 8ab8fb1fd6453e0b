package supervisor

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"banger/internal/durable"
	"banger/internal/fault"
	"banger/internal/hint"
	"banger/internal/vm"
	"banger/internal/vmm"
)

// writeEnding puts the last status of a run into run.json: whoever was not there
// at the end reads it from there.
func writeEnding(dir string, s Status) error {
	text, err := json.Marshal(wire(s))
	if err != nil {
		return err
	}
	return fault.Do("end.write", func() error { return durable.Replace(filepath.Join(dir, RunFile), text) })
}

// ReadRun returns the last status of the run that ended last in dir, as its
// supervisor wrote it; fs.ErrNotExist if a run is under way, or none has written
// its end. Spawn removes it.
func ReadRun(dir string) (Status, error) {
	text, err := os.ReadFile(filepath.Join(dir, RunFile))
	if err != nil {
		return Status{}, err
	}
	var s Status
	if err := json.Unmarshal(text, &s); err != nil {
		return Status{}, fmt.Errorf("read %q: %w", filepath.Join(dir, RunFile), err)
	}
	return received(s), nil
}

// ReadEnding is ReadRun's Ending.
func ReadEnding(dir string) (*vm.Ending, error) {
	s, err := ReadRun(dir)
	if err == nil && s.Ending == nil {
		err = fmt.Errorf("read %q: it says nothing of an end", filepath.Join(dir, RunFile))
	}
	return s.Ending, err
}

func ended(cause, detail string) *vm.Ending {
	return &vm.Ending{At: time.Now().UTC(), Cause: cause, Detail: detail}
}

// launchFailed is the end of a run whose VMM could not be started.
func launchFailed(err error) *vm.Ending {
	e := ended(vm.CauseBoot, err.Error())
	e.Hint = hint.Of(err)
	return e
}

// endedEarly is the end of a run that q ended before the guest was ready.
func endedEarly(q request) *vm.Ending {
	const detail = "ended before the guest was up"
	switch {
	case q.stop == nil:
		return ended(vm.CauseKilled, detail)
	case q.stop.Cancelled:
		return ended(vm.CauseCancelled, detail)
	}
	return ended(vm.CauseStopped, detail)
}

// died is the end of a run whose VMM went before the guest was ready.
func died(x vmm.Exit) *vm.Ending {
	if x.Guest != "" {
		return ended(vm.CauseBoot, "the guest ended itself ("+x.Guest+") before it was up")
	}
	return ended(vm.CauseVMM, exitText(x))
}

// explainBoot adds to the end of a boot what the console says of it.
func (r *run) explainBoot(e *vm.Ending) {
	e.Console = lastLines(r.console.Tail())
	if line := panicAtEnd(r.console.Tail()); line != "" && e.Cause == vm.CauseBoot {
		e.Cause, e.Detail = vm.CausePanic, line
	}
}

// guestEnded is the end of a run that nobody here asked for. outOfMemory says that
// the host's kernel has killed a process for want of memory during the run.
func (r *run) guestEnded(x vmm.Exit, outOfMemory bool) vm.Ending {
	line := panicAtEnd(r.console.Tail())
	var e *vm.Ending
	switch {
	case x.Guest == "panic" && line == "":
		e = ended(vm.CausePanic, "the guest's kernel panicked")
	case x.Guest == "panic", x.Guest == "reset" && line != "":
		// With panic=-1 a panic ends in a reset, and most VMMs know no more.
		e = ended(vm.CausePanic, line)
	case x.Guest != "":
		return *ended(vm.CauseGuest, "the guest ended itself ("+x.Guest+")")
	case syscall.Signal(x.Signal) == syscall.SIGKILL && outOfMemory:
		e = ended(vm.CauseMemory, "the host ran out of memory")
	default:
		e = ended(vm.CauseVMM, exitText(x))
	}
	e.Console = lastLines(r.console.Tail())
	return *e
}

func exitText(x vmm.Exit) string {
	text := fmt.Sprintf("the VMM ended with status %d", x.Code)
	if x.Signal != 0 {
		text = fmt.Sprintf("the VMM was ended by signal %d (%v)", x.Signal, syscall.Signal(x.Signal))
	}
	if lines := lastLines([]byte(x.Stderr)); len(lines) > 0 {
		text += ": " + lines[len(lines)-1]
	}
	return text
}

// oomKills is how many processes the host's kernel has killed for want of memory
// since the boot (proc_vmstat(5), oom_kill); 0 if the kernel does not say.
func oomKills() uint64 {
	f, err := os.Open("/proc/vmstat")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if n, ok := strings.CutPrefix(lines.Text(), "oom_kill "); ok {
			count, _ := strconv.ParseUint(n, 10, 64)
			return count
		}
	}
	return 0
}

// A line of the kernel's on the console begins with its time (printk.time). What
// comes before it in the line may be a program's, without a newline.
var (
	kernelTime = regexp.MustCompile(`^\[ *[0-9]+\.[0-9]{6}\]`)
	panicBegin = regexp.MustCompile(`\[ *[0-9]+\.[0-9]{6}\](\[[^]\n]*\])? Kernel panic - [^\n]*`)
	wellEnded  = regexp.MustCompile(`\[ *[0-9]+\.[0-9]{6}\](\[[^]\n]*\])? reboot: `)
)

// panicAtEnd returns the kernel's message if raw console bytes end in a panic:
// the message (kernel/panic.c), then only the kernel's lines of its trace, and
// none that says that the guest ended well (kernel/reboot.c). Any process of
// root's can write such a message; the end after it, it can't keep away.
func panicAtEnd(raw []byte) string {
	raw = bytes.ReplaceAll(raw, []byte("\r"), nil)
	all := panicBegin.FindAllIndex(raw, -1)
	if len(all) == 0 {
		return ""
	}
	at := all[len(all)-1]
	for _, line := range bytes.Split(raw[at[1]:], []byte("\n")) {
		if len(line) > 0 && (!kernelTime.Match(line) || wellEnded.Match(line)) {
			return ""
		}
	}
	line := raw[at[0]:at[1]]
	return escape(string(line[bytes.Index(line, []byte("Kernel panic - ")):]))
}
