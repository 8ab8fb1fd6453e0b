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

// EnvTrace names a file to which each point that is reached adds its name, a line
// each.
const EnvTrace = "BANGER_FAULT_TRACE"

var trace = sync.OnceValue(func() *os.File {
	path := os.Getenv(EnvTrace)
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		panic(err)
	}
	return f // open for as long as the process lives
})

// Do runs effect, or does to it what the environment says for the point name.
func Do(name string, effect func() error) error {
	if f := trace(); f != nil {
		f.WriteString(name + "\n")
	}
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
