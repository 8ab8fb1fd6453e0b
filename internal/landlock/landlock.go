// Package landlock limits this process, and what it executes, to the files
// that an Access lists, by the kernel's Landlock (landlock(7)). With the files go
// TCP, UDP, signals to processes outside, and Unix sockets outside the
// directories listed: all of it as far as this kernel can, and Gaps says how far.
//
// It needs no right, but no_new_privs, which it sets. It holds in each thread,
// over an exec, and can't be taken back. Descriptors that are open stay usable.
package landlock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	golandlock "github.com/landlock-lsm/go-landlock/landlock"
	sys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Access lists all files that a program may use, by absolute paths; a directory
// stands for all below it, a symbolic link for what it points at. What is not
// there is passed over: whoever opens it says so better. A path that is in
// several lists has the rights of all of them.
type Access struct {
	// Read: files are read, directories listed; a device takes ioctls.
	Read []string
	// Write is Read, and written and truncated; in a directory also made and
	// removed (files, directories, Unix sockets), and its sockets connected to.
	Write []string
	// Execute is Read, and executed. A program needs its ELF interpreter
	// (ld.so) here too; shared libraries are only read.
	Execute []string
}

// Rights on files alone, and on directories. Those that only devices have mean
// nothing elsewhere.
const (
	readFile    = golandlock.AccessFSSet(sys.AccessFSReadFile | sys.AccessFSIoctlDev)
	writeFile   = readFile | sys.AccessFSWriteFile | sys.AccessFSTruncate
	executeFile = readFile | sys.AccessFSExecute

	readDir  = golandlock.AccessFSSet(sys.AccessFSReadFile | sys.AccessFSReadDir)
	writeDir = readDir | sys.AccessFSWriteFile | sys.AccessFSTruncate | sys.AccessFSMakeReg | sys.AccessFSMakeDir |
		sys.AccessFSMakeSock | sys.AccessFSRemoveFile | sys.AccessFSRemoveDir | sys.AccessFSResolveUnix
	executeDir = readDir | sys.AccessFSExecute
)

// wanted is what Restrict asks for: the last ABI that Gaps knows.
var wanted = golandlock.V11.BestEffort()

// Restrict leaves a's files to this process and nothing else, as far as the
// kernel can; where it has no Landlock at all, nothing changes and the error
// is nil. After an error, nothing is restricted.
func (a Access) Restrict() error {
	var rules []golandlock.Rule
	for _, list := range []struct {
		paths     []string
		file, dir golandlock.AccessFSSet
	}{
		{a.Read, readFile, readDir},
		{a.Write, writeFile, writeDir},
		{a.Execute, executeFile, executeDir},
	} {
		for _, path := range list.paths {
			fi, err := os.Stat(path)
			if unreachable(err) {
				continue
			}
			if err != nil {
				return fmt.Errorf("restrict by Landlock: %w", err)
			}
			rights := list.file
			if fi.IsDir() {
				rights = list.dir
			}
			rules = append(rules, golandlock.PathAccess(rights, path).IgnoreIfMissing())
		}
	}
	if err := wanted.Restrict(rules...); err != nil {
		return fmt.Errorf("restrict by Landlock: %w", err)
	}
	return nil
}

// unreachable reports whether nobody could open the path anyway.
func unreachable(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// Version is the ABI of this kernel's Landlock; 0 is none, and the error why.
func Version() (int, error) {
	v, err := sys.LandlockGetABIVersion()
	switch {
	case errors.Is(err, unix.ENOSYS):
		return 0, errors.New("this kernel has no Landlock (Linux 5.13 and later can have it)")
	case errors.Is(err, unix.EOPNOTSUPP):
		return 0, errors.New("this kernel's Landlock is switched off (its command line needs landlock in lsm=)")
	case err != nil:
		return 0, fmt.Errorf("this kernel's Landlock can't be asked: %w", err)
	}
	// The library does without signals where the kernel's check of them has its
	// first bug (LANDLOCK_CREATE_RULESET_ERRATA, erratum 2), and so has ABI 5.
	if errata, _ := sys.LandlockGetErrata(); v >= 6 && errata&0x2 == 0 {
		v = 5
	}
	return v, nil
}

// since says from which ABI on Landlock keeps a program from what.
var since = []struct {
	abi  int
	what string
	kept func(Kept) bool
}{
	{3, "empty your files", nothing},
	{4, "use TCP", func(k Kept) bool { return k.Network }},
	{6, "signal your processes", nothing},
	{9, "connect to your Unix sockets", func(k Kept) bool { return k.Unix }},
	{10, "use UDP", func(k Kept) bool { return k.Network }},
}

func nothing(Kept) bool { return false }

// Kept is what is kept from a program by other means than Landlock.
type Kept struct {
	Network bool // sockets of the network
	Unix    bool // Unix sockets
}

// Gaps says in words, a line each, what this kernel leaves to a program that
// Restrict was meant to keep it from.
func Gaps(k Kept) []string {
	abi, why := Version()
	return GapsOf(abi, why, k)
}

// GapsOf is Gaps for what Version returned.
func GapsOf(abi int, why error, k Kept) []string {
	if why != nil {
		return []string{why.Error() + ": a VMM can open all of your files"}
	}
	var left []string
	for _, s := range since {
		if abi < s.abi && !s.kept(k) {
			left = append(left, s.what)
		}
	}
	if left == nil {
		return nil
	}
	return []string{fmt.Sprintf("this kernel's Landlock (ABI %d) leaves it to a VMM to %s", abi, strings.Join(left, ", "))}
}
