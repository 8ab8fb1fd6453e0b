package command

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Where an image has the limits of its users (limits.conf(5)); the directory's files
// are read after the file, in the order of their names.
const (
	limitsFile  = "/etc/security/limits.conf"
	limitsFiles = "/etc/security/limits.d/*.conf"
)

// maxOpenFiles is the file of the most open files that a limit can be (proc(5)).
const maxOpenFiles = "/proc/sys/fs/nr_open"

// resource is a limit as limits.conf(5) names it: what a number there stands for, in
// the kernel's unit.
type resource struct {
	number int
	unit   uint64
}

// resources are those that the kernel limits a process by. What PAM alone counts, as
// maxlogins, and priority are left out: a command is no login.
var resources = map[string]resource{
	"core": {unix.RLIMIT_CORE, 1 << 10}, "data": {unix.RLIMIT_DATA, 1 << 10}, "fsize": {unix.RLIMIT_FSIZE, 1 << 10},
	"memlock": {unix.RLIMIT_MEMLOCK, 1 << 10}, "rss": {unix.RLIMIT_RSS, 1 << 10}, "stack": {unix.RLIMIT_STACK, 1 << 10},
	"as": {unix.RLIMIT_AS, 1 << 10}, "cpu": {unix.RLIMIT_CPU, 60}, "nofile": {unix.RLIMIT_NOFILE, 1},
	"nproc": {unix.RLIMIT_NPROC, 1}, "locks": {unix.RLIMIT_LOCKS, 1}, "sigpending": {unix.RLIMIT_SIGPENDING, 1},
	"msgqueue": {unix.RLIMIT_MSGQUEUE, 1}, "nice": {unix.RLIMIT_NICE, 1}, "rtprio": {unix.RLIMIT_RTPRIO, 1},
}

// domain is how exactly a line names a user; the more exact one counts.
type domain int

const (
	nobodys domain = iota
	everybodys
	aGroups
	aUsers
)

// limit is a soft or a hard limit that a file sets; the zero value is none.
type limit struct {
	from  domain
	value uint64
}

// limits are what files set for a user: for each resource, soft and hard.
type limits map[resource]*[2]limit

// loginLimits are a's of an image's files. A line that is not understood is left out.
func (a account) loginLimits(groups, file, pattern string) limits {
	files, _ := filepath.Glob(pattern) // sorted
	names := groupNames(groups, a)
	out := limits{}
	for _, name := range append([]string{file}, files...) {
		text, _ := os.ReadFile(name)
		for line := range strings.Lines(string(text)) {
			line, _, _ = strings.Cut(line, "#")
			f := strings.Fields(line)
			if len(f) == 2 && f[1] == "-" && a.domain(f[0], names) != nobodys {
				return nil // no limits for this user
			}
			if len(f) == 4 {
				out.set(a.domain(f[0], names), f[1], f[2], f[3])
			}
		}
	}
	return out
}

// domain is how d names a, who is in the groups of those names. Root is meant by its own
// name and number alone.
func (a account) domain(d string, groups []string) domain {
	name, group := strings.CutPrefix(d, "@")
	low, high, isRange := strings.Cut(name, ":")
	switch {
	case group && a.uid == 0:
	case group && isRange:
		if slices.ContainsFunc(append(slices.Clone(a.groups), a.gid), func(id uint32) bool { return within(low, high, id) }) {
			return aGroups
		}
	case group:
		if slices.Contains(groups, name) {
			return aGroups
		}
	case isRange:
		if within(low, high, a.uid) {
			return aUsers
		}
	case d == a.name:
		return aUsers
	case d == "*" && a.uid != 0:
		return everybodys
	}
	return nobodys
}

// within reports whether an id is in a range: an open one has no end, one without a
// beginning means its end alone.
func within(low, high string, id uint32) bool {
	l, lerr := strconv.ParseUint(low, 10, 32)
	h, herr := strconv.ParseUint(high, 10, 32)
	switch {
	case low == "" && herr == nil:
		return uint64(id) == h
	case high == "" && lerr == nil:
		return uint64(id) >= l
	}
	return lerr == nil && herr == nil && uint64(id) >= l && uint64(id) <= h
}

// groupNames are the names of a's groups.
func groupNames(file string, a account) (names []string) {
	for f := range records(file, 4) {
		id, err := strconv.ParseUint(f[2], 10, 32)
		if err == nil && (uint32(id) == a.gid || slices.Contains(a.groups, uint32(id))) {
			names = append(names, f[0])
		}
	}
	return names
}

// set takes one line. Of two that name a user equally, the later one counts.
func (l limits) set(from domain, kind, item, text string) {
	res, known := resources[item]
	if from == nobodys || !known || !slices.Contains([]string{"soft", "hard", "-"}, kind) {
		return
	}
	value := uint64(unix.RLIM_INFINITY)
	if !slices.Contains([]string{"-", "-1", "unlimited", "infinity"}, text) || item == "nice" {
		n, err := strconv.ParseInt(text, 10, 64)
		switch {
		case err != nil:
			return
		case item == "nice": // the lowest nice value, as setrlimit(2) counts it
			value = uint64(20 - min(max(n, -20), 19))
		case n < 0 || uint64(n) > unix.RLIM_INFINITY/res.unit:
			return
		default:
			value = uint64(n) * res.unit
		}
	}
	if l[res] == nil {
		l[res] = &[2]limit{}
	}
	for i, of := range []string{"soft", "hard"} {
		if (kind == of || kind == "-") && from >= l[res][i].from {
			l[res][i] = limit{from, value}
		}
	}
}

// apply gives a process its limits. One that the kernel does not take is left as it is.
func (l limits) apply(pid int) {
	for res, set := range l {
		var now unix.Rlimit
		if unix.Prlimit(pid, res.number, nil, &now) != nil {
			continue
		}
		if set[0].from != nobodys {
			now.Cur = set[0].value
		}
		if set[1].from != nobodys {
			now.Max = set[1].value
		}
		if res.number == unix.RLIMIT_NOFILE {
			text, _ := os.ReadFile(maxOpenFiles)
			if most, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil {
				now.Max = min(now.Max, most)
			}
		}
		now.Cur = min(now.Cur, now.Max)
		unix.Prlimit(pid, res.number, &now, nil)
	}
}

// startLimited starts a process that has its limits from its first instruction on: the
// kernel stops one that is traced when it has executed its program. The caller's
// goroutine is locked to its thread.
func startLimited(path string, argv []string, attr *os.ProcAttr, set limits) (*os.Process, error) {
	if len(set) == 0 {
		return os.StartProcess(path, argv, attr)
	}
	attr.Sys.Ptrace = true
	p, err := os.StartProcess(path, argv, attr)
	if err != nil {
		return nil, err
	}
	for { // until it has stopped; one that was killed before is its waiter's
		err := unix.Waitid(unix.P_PID, p.Pid, nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	set.apply(p.Pid)
	unix.PtraceDetach(p.Pid)
	return p, nil
}
