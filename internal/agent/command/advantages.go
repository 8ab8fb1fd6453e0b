package command

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// oomAdjust is the file of this process's oom_score_adj (proc(5)).
const oomAdjust = "/proc/self/oom_score_adj"

// starts counts the starts under way, and keeps the agent's own oom_score_adj
// while there are any.
var starts struct {
	sync.Mutex
	count int
	own   string // "" if there is no advantage to give up
}

// withoutAdvantages calls start, which starts a process, while the agent has
// neither its nice value nor its oom_score_adj: a child inherits both, and
// whatever the child starts in its first moments would too. For these milliseconds
// the agent can be killed for want of memory as any process of its size: the
// kernel takes the largest first.
func withoutAdvantages(start func() error) error {
	giveUp()
	defer takeBack()
	// The nice value is a thread's (setpriority(2)), and a child has that of the
	// thread that forks.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if nice := 20 - raw; err == nil && nice < 0 { // the system call returns 20 - nice
		unix.Setpriority(unix.PRIO_PROCESS, 0, 0)
		defer unix.Setpriority(unix.PRIO_PROCESS, 0, nice)
	}
	return start()
}

func giveUp() {
	starts.Lock()
	defer starts.Unlock()
	if starts.count++; starts.count > 1 {
		return
	}
	text, _ := os.ReadFile(oomAdjust)
	own := strings.TrimSpace(string(text))
	if n, err := strconv.Atoi(own); err != nil || n >= 0 || os.WriteFile(oomAdjust, []byte("0"), 0) != nil {
		own = ""
	}
	starts.own = own
}

func takeBack() {
	starts.Lock()
	defer starts.Unlock()
	if starts.count--; starts.count == 0 && starts.own != "" {
		os.WriteFile(oomAdjust, []byte(starts.own), 0)
	}
}
