package standin

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// again is between two looks for processes: nobody tells of the end of others'
// children.
const again = 2 * time.Millisecond

// endAll tells the guest's commands to end, and reports whether all did before
// limit; it takes until least at the least. The rest is killed later, see leave.
func endAll(least, limit time.Time) bool {
	for _, pid := range descendants(os.Getpid()) {
		syscall.Kill(pid, syscall.SIGTERM)
	}
	for {
		now := time.Now()
		if now.After(least) && len(descendants(os.Getpid())) == 0 {
			return true
		}
		if now.After(limit) {
			return false
		}
		time.Sleep(again)
	}
}

// noMoreStarts keeps this process from starting others, for good.
var noMoreStarts = sync.OnceFunc(syscall.ForkLock.Lock)

// killAll ends the guest's commands, and returns when they are gone. No command
// is started after it.
func killAll() {
	noMoreStarts()
	for {
		all := descendants(os.Getpid())
		if len(all) == 0 {
			return
		}
		for _, pid := range all {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(again)
	}
}

// descendants are the live processes below pid.
func descendants(pid int) (all []int) {
	files, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	for _, f := range files {
		text, _ := os.ReadFile(f) // a thread that has ended has none
		for _, word := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(word)
			if err == nil && alive(child) {
				all = append(append(all, child), descendants(child)...)
			}
		}
	}
	return all
}

// alive reports whether pid is more than the rest of a process that nobody has
// waited for (proc(5): the state follows the name in parentheses).
func alive(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, rest, found := bytes.Cut(text[bytes.LastIndexByte(text, ')')+1:], []byte(" "))
	return err == nil && found && len(rest) > 0 && rest[0] != 'Z' && rest[0] != 'X'
}
