package harness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// leftovers ends what the script's daemon still runs, and tells what should
// not be there: VMs, processes, sockets, files, reports of races and panics.
func (s *state) leftovers() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupLimit)
	defer cancel()
	var errs []error
	stateDir := filepath.Join(s.work, "state", "banger")
	if _, err := os.Stat(filepath.Join(stateDir, "banger.db")); err == nil {
		errs = append(errs, noVM(s.banger(ctx, "vm", "list", "-q")))
	}
	if out, err := s.banger(ctx, "daemon", "stop").CombinedOutput(); err != nil {
		errs = append(errs, fmt.Errorf("banger daemon stop: %v: %s", err, out))
	}
	errs = append(errs, s.processesLeft(ctx)...)
	errs = append(errs, s.filesLeft(stateDir)...)
	errs = append(errs, s.complaints(stateDir)...)
	return errors.Join(errs...)
}

// banger is a command with the environment that the script began with.
func (s *state) banger(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.tier.bin, "banger"), args...)
	cmd.Env, cmd.Dir = s.vars, s.work
	return cmd
}

// noVM runs a list of VMs, which has none. On stderr may be how long the daemon takes to start.
func noVM(list *exec.Cmd) error {
	var said strings.Builder
	list.Stderr = &said
	out, err := list.Output()
	if err != nil || len(out) > 0 {
		return fmt.Errorf("banger vm list -q gave %q, %v, %q; want no VM", out, err, said.String())
	}
	return nil
}

// endLimit is how long processes may take to be gone after the last command.
const endLimit = 5 * time.Second

// processesLeft waits a moment for the script's processes and kills those that
// stay.
func (s *state) processesLeft(ctx context.Context) []error {
	soon, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	var errs []error
	for pid, args := range Processes(s.work) {
		if err := waitPID(soon, pid); err == nil {
			continue
		}
		errs = append(errs, fmt.Errorf("process %d is left: %s", pid, args))
		unix.Kill(pid, unix.SIGKILL)
		waitPID(ctx, pid)
	}
	return errs
}

// waitPID waits for the end of a process that may be no child.
func waitPID(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		left := time.Second
		if limit, ok := ctx.Deadline(); ok {
			left = time.Until(limit)
		}
		if left <= 0 {
			return context.DeadlineExceeded
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Processes finds all that belong to a directory of a test: it is in their
// arguments, their environment, or where they work or write. Zombies have none
// of it.
func Processes(work string) map[int]string {
	out := map[int]string{}
	names, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range names {
		pid, err := strconv.Atoi(filepath.Base(p))
		if err != nil || pid == os.Getpid() {
			continue
		}
		args, _ := os.ReadFile(p + "/cmdline")
		env, _ := os.ReadFile(p + "/environ")
		belongs := strings.Contains(string(args), work) || strings.Contains(string(env), work)
		links, _ := filepath.Glob(p + "/fd/*")
		for _, l := range append(links, p+"/cwd", p+"/exe") {
			if belongs {
				break
			}
			to, _ := os.Readlink(l)
			belongs = strings.HasPrefix(to, work+"/")
		}
		if belongs {
			out[pid] = strings.TrimSpace(strings.ReplaceAll(string(args), "\x00", " "))
		}
	}
	return out
}

// filesLeft finds sockets, and files that outlive a daemon without VMs by
// mistake.
func (s *state) filesLeft(stateDir string) []error {
	var errs []error
	filepath.WalkDir(s.work, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type()&fs.ModeSocket != 0 {
			errs = append(errs, fmt.Errorf("socket %s is left", path))
		}
		return nil
	})
	filepath.WalkDir(stateDir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(stateDir, path)
		switch {
		case err != nil, rel == ".", rel == "vms":
		case rel == "trash", rel == "base":
			return fs.SkipDir
		case rel == "work", rel == "ssh":
		case rel == filepath.Join("ssh", "id_ed25519"), rel == filepath.Join("ssh", "known_hosts"), rel == filepath.Join("ssh", "config"):
		case filepath.Dir(rel) == "work" && !strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir // saved work outlives its VM
		case strings.HasPrefix(rel, "banger.db"), strings.HasPrefix(rel, "bangerd.log"), rel == "bangerd.lock", rel == "ballast":
		default:
			errs = append(errs, fmt.Errorf("%s is left in the state directory", rel))
			if d.IsDir() {
				return fs.SkipDir
			}
		}
		return nil
	})
	return errs
}

// complaints finds what Go's runtime wrote of a race or a panic.
func (s *state) complaints(stateDir string) []error {
	var errs []error
	races, _ := filepath.Glob(filepath.Join(s.work, "race.*"))
	for _, f := range races {
		text, _ := os.ReadFile(f)
		errs = append(errs, fmt.Errorf("the race detector reports:\n%s", text))
	}
	filepath.WalkDir(stateDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".log" || filepath.Base(path) == "console.log" {
			return nil
		}
		text, _ := os.ReadFile(path)
		for _, sign := range []string{"WARNING: DATA RACE", "\npanic: ", "\nfatal error: ", "[recovered]", "http: panic serving"} {
			if strings.Contains("\n"+string(text), sign) {
				errs = append(errs, fmt.Errorf("%s has %q:\n%s", path, sign, text))
				break
			}
		}
		return nil
	})
	return errs
}
