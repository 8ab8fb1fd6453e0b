package firecracker

import (
	"bytes"
	"io"
	"regexp"
	"strings"
)

// maxLine is how much of a console line is looked at, in bytes.
const maxLine = 256

// haltLine is the kernel's last word before its CPUs halt for good, with
// whatever printk is set to put before it (kernel/reboot.c, kernel_halt and
// kernel_power_off; both are of the level that is never held back).
var haltLine = regexp.MustCompile(`^(?:\[[^\]]*\] ?)*reboot: (?:System halted|Power down)\r*$`)

// haltWatch is a console that calls halted when haltLine passes.
type haltWatch struct {
	io.ReadCloser
	halted func()
	line   []byte // the line under way, up to maxLine
}

func (h *haltWatch) Read(p []byte) (int, error) {
	n, err := h.ReadCloser.Read(p)
	for text := p[:n]; len(text) > 0; {
		part, rest, whole := bytes.Cut(text, []byte("\n"))
		h.line = append(h.line, part[:min(len(part), maxLine-len(h.line))]...)
		if whole {
			if haltLine.Match(h.line) {
				h.halted()
			}
			h.line = h.line[:0]
		}
		text = rest
	}
	return n, err
}

// logHead is what Firecracker puts before each line of its log:
// "2026-01-31T12:00:00.000000000 [ID:main] ".
var logHead = regexp.MustCompile(`^[0-9T:.-]+ \[[^\]]*\] `)

// plain is Firecracker's log without the heads of its lines.
func plain(log string) string {
	var out strings.Builder
	for line := range strings.Lines(log) {
		out.WriteString(logHead.ReplaceAllString(line, ""))
	}
	return out.String()
}

// lastWords is the last line that says something.
func lastWords(text string) (last string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			last = line
		}
	}
	return last
}
