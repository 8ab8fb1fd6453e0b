package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// firstFile is the descriptor of Spec.Files[0].
const firstFile = 3

// Main is `bangerd launch FD`: it reads the order on descriptor FD, reports
// trouble on FD+1, and becomes the program. It does not return.
func Main() {
	runtime.LockOSThread() // no_new_privs is a thread's, and this one execs
	fd, err := strconv.Atoi(os.Args[len(os.Args)-1])
	if err != nil || fd < firstFile {
		fmt.Fprintln(os.Stderr, "bangerd launch: not for hand use")
		os.Exit(125)
	}
	report := os.NewFile(uintptr(fd+1), "status")
	unix.CloseOnExec(fd + 1)
	fmt.Fprintln(report, become(fd, report))
	os.Exit(125)
}

// become applies the order and execs; it returns only on an error.
func become(fd int, report io.Writer) error {
	in := os.NewFile(uintptr(fd), "order")
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	in.Close()
	var o order
	if err := json.Unmarshal(text, &o); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	path := string(o.Path)
	if !filepath.IsAbs(path) {
		return fmt.Errorf("path %q is not absolute", path)
	}
	if o.Parent != 0 {
		if err := dieWith(o.Parent); err != nil {
			return err
		}
	}
	unix.Umask(0o077)
	if len(o.Dir) > 0 {
		if err := os.Chdir(string(o.Dir)); err != nil {
			return err
		}
	}
	if err := setLimits(o); err != nil {
		return fmt.Errorf("set a limit: %w", err)
	}
	if o.NoNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("set no_new_privs: %w", err)
		}
	}
	if err := closeOnExec(firstFile + o.Files); err != nil {
		return fmt.Errorf("mark descriptors: %w", err)
	}
	if err := resetSignals(o.OnlyKill); err != nil {
		return fmt.Errorf("reset signals: %w", err)
	}
	for _, g := range confine(o) { // last: it takes files away
		fmt.Fprintln(report, gap+g)
	}
	io.WriteString(report, about)
	err = syscall.Exec(path, append([]string{path}, toStrings(o.Args)...), toStrings(o.Env))
	return fmt.Errorf("execute: %w", err)
}

// setLimits sets rlimits, soft and hard, none above the hard one that is there.
func setLimits(o order) error {
	limits := map[int]int64{unix.RLIMIT_FSIZE: o.MaxFileSize, unix.RLIMIT_NOFILE: o.MaxOpenFiles}
	if o.NoCore {
		limits[unix.RLIMIT_CORE] = 0
	}
	for what, limit := range limits {
		var now unix.Rlimit
		if err := unix.Getrlimit(what, &now); err != nil {
			return err
		}
		n := min(uint64(limit), now.Max)
		if n == 0 && what != unix.RLIMIT_CORE {
			continue
		}
		if err := unix.Setrlimit(what, &unix.Rlimit{Cur: n, Max: n}); err != nil {
			return err
		}
	}
	return nil
}

// dieWith asks for SIGKILL at the end of the parent, which has to be the
// starter: one that ended before the request would never be noticed. The
// request is a thread's, so it is made on the one that execs; what Go asked
// for at the fork belongs to the first thread.
func dieWith(parent int) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("ask to die with the starter: %w", err)
	}
	if os.Getppid() != parent {
		return errors.New("the starter has ended")
	}
	return nil
}

// closeOnExec marks all descriptors from first on: what the starter's starter
// left open is not ours to pass on.
func closeOnExec(first int) error {
	err := unix.CloseRange(uint(first), math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return closeOnExecEach(first) // a kernel before 5.11
}

func closeOnExecEach(first int) error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= first {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// endSignals ask a process to end.
var endSignals = []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT}

// resetSignals gives the program every signal's default and a mask that is
// empty, or has the signals that ask for an end: handlers end with the exec by
// themselves, what an ancestor ignored (nohup) or blocked does not.
func resetSignals(onlyKill bool) error {
	const ignored = 1 // SIG_IGN
	// struct sigaction of the kernel on 64-bit machines: handler, flags,
	// restorer, mask. The kernel has 64 signals.
	var action [4]uintptr
	for sig := uintptr(1); sig <= 64; sig++ {
		if _, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&action)), 8, 0, 0); e != 0 || action[0] != ignored {
			continue
		}
		action = [4]uintptr{}
		if _, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0); e != 0 {
			return e
		}
	}
	var mask unix.Sigset_t
	if onlyKill {
		for _, sig := range endSignals {
			mask.Val[0] |= 1 << (sig - 1) // the first 64 are in one word
		}
	}
	return unix.PthreadSigmask(unix.SIG_SETMASK, &mask, nil)
}
