//go:build faults

package fault

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Env holds the fault of a process: "POINT=MODE" or "POINT=MODE@FILE". The
// modes are crash-before, crash-after, EIO, ENOSPC, EPERM and hang. FILE, if it
// is given, must exist for the fault to happen; the fault removes it, so that it
// happens once, whatever the number of processes.
const Env = "BANGER_FAULT"

var wanted = sync.OnceValues(func() (point, rest string) {
	point, rest, _ = strings.Cut(os.Getenv(Env), "=")
	return point, rest
})

// Do runs effect, or does to it what the environment says for the point name.
func Do(name string, effect func() error) error {
	point, rest := wanted()
	if point != name {
		return effect()
	}
	mode, once, limited := strings.Cut(rest, "@")
	if limited && os.Remove(once) != nil {
		return effect()
	}
	switch mode {
	case "crash-before":
		crash()
	case "crash-after":
		effect()
		crash()
	case "hang":
		select {}
	case "EIO":
		return fmt.Errorf("fault at %s: %w", name, syscall.EIO)
	case "ENOSPC":
		return fmt.Errorf("fault at %s: %w", name, syscall.ENOSPC)
	case "EPERM":
		return fmt.Errorf("fault at %s: %w", name, syscall.EPERM)
	}
	panic("fault: mode " + strconv.Quote(mode) + " is not known")
}

// crash ends the process as kill -9 does.
func crash() {
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
