package agent

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"banger/internal/channel/control"
)

// workStep is how long an end goes on for each time that the guest is seen to work.
const workStep = 2 * time.Second

// endLimit is until when the guest's services may take their time to end: for as long as is given
// to them, and on while the guest works, as one does whose host has little time for it.
type endLimit struct {
	limit, most time.Time
	read        func() (time.Duration, bool)
	works       func() // tells, once, that the end goes on

	at     time.Time     // when the guest's work was read
	worked time.Duration // what it was
	known  bool
	told   bool
}

func newEndLimit(e control.End, read func() (time.Duration, bool), works func()) *endLimit {
	now := time.Now()
	l := &endLimit{limit: now.Add(e.Grace()), most: now.Add(max(e.Grace(), e.Work())), read: read, works: works, at: now}
	l.worked, l.known = read()
	return l
}

// over reports whether the time is over. It is called often.
func (l *endLimit) over() bool {
	now := time.Now()
	if now.Before(l.limit) {
		return false
	}
	if !now.Before(l.most) || !l.working(now) {
		return true
	}
	l.limit = now.Add(workStep)
	if l.limit.After(l.most) {
		l.limit = l.most
	}
	if !l.told {
		l.told = true
		l.works()
	}
	return false
}

// left is how long the time goes on at least.
func (l *endLimit) left() time.Duration { return time.Until(l.limit) }

// working reports whether the guest has worked for half of the time since the last look.
func (l *endLimit) working(now time.Time) bool {
	worked, known := l.read()
	is := known && l.known && worked-l.worked >= now.Sub(l.at)/2
	l.at, l.worked, l.known = now, worked, known
	return is
}

// readWork is how long the guest's processors have not been idle since its boot, all of them
// together. Waits for a disk count: who writes out what it has is at work.
func readWork() (time.Duration, bool) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, false
	}
	return parseWork(text)
}

// parseWork reads the first line of /proc/stat (proc(5)), in hundredths of a second.
func parseWork(text []byte) (time.Duration, bool) {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	words := bytes.Fields(line)
	if len(words) < 6 || string(words[0]) != "cpu" {
		return 0, false
	}
	sum := time.Duration(0)
	for i, word := range words[1:min(len(words), 9)] { // guests' time, behind, is in user's
		n, err := strconv.ParseUint(string(word), 10, 63)
		if err != nil {
			return 0, false
		}
		if i != 3 { // idle
			sum += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return sum, true
}
