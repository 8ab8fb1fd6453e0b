package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ticksPerSecond is the unit of the times in /proc/PID/stat, which Linux gives to
// programs as 100 on every machine (time(7), USER_HZ).
const ticksPerSecond = 100

// Usage is what a process takes of the host.
type Usage struct {
	StartedAt time.Time
	CPU       time.Duration // of all its threads
	RSSKiB    int64         // resident memory
	PSSKiB    int64         // with shared pages split among those who share them; 0 if it can't be told
	// ReadBytes and WrittenBytes went between the process and storage; 0 if it can't
	// be told.
	ReadBytes, WrittenBytes int64
}

// UsageOf measures the process that has pid now; os.ErrProcessDone if there is
// none. Source: proc(5).
func UsageOf(pid int) (Usage, error) {
	proc := "/proc/" + strconv.Itoa(pid)
	text, err := os.ReadFile(proc + "/stat")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return Usage{}, os.ErrProcessDone
	}
	if err != nil {
		return Usage{}, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 20 {
		return Usage{}, fmt.Errorf("measure process %d: its stat has %d fields", pid, len(fields))
	}
	ticks := func(n int) time.Duration { // a field by proc(5)'s number
		v, _ := strconv.ParseInt(fields[n-3], 10, 64)
		return time.Duration(v) * (time.Second / ticksPerSecond)
	}
	u := Usage{CPU: ticks(14) + ticks(15), RSSKiB: RSSKiB(pid)}
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) == nil {
		u.StartedAt = time.Now().Add(ticks(22) - time.Duration(now.Nano())).UTC()
	}
	u.PSSKiB = field(proc+"/smaps_rollup", "Pss:")
	u.ReadBytes, u.WrittenBytes = field(proc+"/io", "read_bytes:"), field(proc+"/io", "write_bytes:")
	return u, nil
}

// field is the number after a name at the beginning of a line of a file, or 0.
func field(path, name string) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return n
		}
	}
	return 0
}
