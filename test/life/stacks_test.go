//go:build standin

package life

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

var call = regexp.MustCompile(`(?m)^(?:banger/internal/|banger/cmd/)?([\w./*()]+)\(.*\)$`)

// stacks is where the daemon's goroutines are that have to do with a VM, a line each,
// the innermost call first.
func (w *world) stacks() string {
	file := filepath.Join(w.dir, "stacks")
	os.Remove(file)
	w.daemon.Process.Signal(syscall.SIGUSR2)
	var text []byte
	for limit := time.Now().Add(10 * time.Second); len(text) == 0 && time.Now().Before(limit); time.Sleep(20 * time.Millisecond) {
		text, _ = os.ReadFile(file)
	}
	var b strings.Builder
	for g := range strings.SplitSeq(string(text), "\n\n") {
		if !strings.Contains(g, "banger/internal/instance") {
			continue
		}
		state, _, _ := strings.Cut(g, "\n")
		var calls []string
		for _, m := range call.FindAllStringSubmatch(g, 12) {
			calls = append(calls, m[1])
		}
		fmt.Fprintf(&b, "%s %s\n", state, strings.Join(calls, " < "))
	}
	return b.String()
}

// whereabouts says how the daemon ended, or where it is.
func (w *world) whereabouts() string {
	select {
	case <-w.ended:
		return "the daemon has ended: " + w.daemon.ProcessState.String()
	default:
		return "the daemon is at\n" + w.stacks()
	}
}
