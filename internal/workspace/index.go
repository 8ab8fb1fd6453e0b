package workspace

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/git"
	"banger/internal/workspace/wire"
)

// entry is one of the user's index, with the stat data of its file as git last saw
// them.
type entry struct {
	wire.Entry
	stat indexStat
}

// indexStat are the fields of a stat that an index keeps, cut to 32 bits.
type indexStat struct {
	ctime, ctimeNs, mtime, mtimeNs, ino, uid, gid, size uint32
}

// Flags of an entry in memory, as ls-files --debug shows them (git's cache.h).
const (
	flagValid  = 0x8000
	flagIntent = 1 << 29
	flagSkip   = 1 << 30
)

// readIndex lists an index.
func readIndex(ctx context.Context, g git.Git) (entries []entry, err error) {
	err = g.Read(ctx, nil, func(r *bufio.Reader) error {
		for {
			e, err := readEntry(r)
			if errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			entries = append(entries, e)
		}
	}, "ls-files", "-z", "-s", "--debug")
	return entries, withHint(err)
}

// readEntry reads one entry of ls-files -z -s --debug: "MODE ID STAGE\tPATH\0",
// and five lines of stat data. Their form is for people to read: another one than the
// known is an error.
func readEntry(r *bufio.Reader) (e entry, err error) {
	head, err := r.ReadBytes(0)
	if err != nil {
		if len(head) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return e, err
	}
	e.Entry, err = parseStaged(head[:len(head)-1])
	if err != nil {
		return e, err
	}
	var lines [5]string
	for i := range lines {
		line, err := r.ReadString('\n')
		if err != nil {
			return e, fmt.Errorf("git ls-files --debug: %w", io.ErrUnexpectedEOF)
		}
		lines[i] = strings.TrimSuffix(line, "\n")
	}
	var st indexStat
	var dev, flags uint32
	n, err := fmt.Sscanf(strings.Join(lines[:], ";"), "  ctime: %d:%d;  mtime: %d:%d;  dev: %d\tino: %d;  uid: %d\tgid: %d;  size: %d\tflags: %x",
		&st.ctime, &st.ctimeNs, &st.mtime, &st.mtimeNs, &dev, &st.ino, &st.uid, &st.gid, &st.size, &flags)
	if err != nil || n != 10 {
		return e, fmt.Errorf("git ls-files --debug says %q, in a form that is not known", lines)
	}
	e.stat = st
	if flags&flagValid != 0 {
		e.Bits |= wire.AssumeUnchanged
	}
	if flags&flagIntent != 0 {
		e.Bits |= wire.IntentToAdd
	}
	if flags&flagSkip != 0 {
		e.Bits |= wire.SkipWorktree
	}
	return e, nil
}

// parseStaged parses "MODE ID STAGE\tPATH".
func parseStaged(line []byte) (e wire.Entry, err error) {
	head, path, found := bytes.Cut(line, []byte("\t"))
	f := bytes.Fields(head)
	if !found || len(f) != 3 || len(path) == 0 {
		return e, fmt.Errorf("git ls-files says %.200q", line)
	}
	mode, err := strconv.ParseUint(string(f[0]), 8, 32)
	if err != nil {
		return e, err
	}
	if e.ID, err = hex.DecodeString(string(f[1])); err != nil {
		return e, err
	}
	stage, err := strconv.ParseUint(string(f[2]), 10, 8)
	if err != nil {
		return e, err
	}
	e.Mode, e.Stage, e.Path = uint32(mode), uint8(stage), path
	return e, nil
}

// statOf are the fields of st that an index keeps.
func statOf(st unix.Stat_t) indexStat {
	return indexStat{
		uint32(st.Ctim.Sec), uint32(st.Ctim.Nsec), uint32(st.Mtim.Sec), uint32(st.Mtim.Nsec),
		uint32(st.Ino), st.Uid, st.Gid, uint32(st.Size),
	}
}

// matches reports whether a file is as git last saw it. The device is left out, as
// git does: it changes with a mount.
func (s indexStat) matches(st unix.Stat_t) bool {
	return s == statOf(st)
}

// matchesContent is matches but for the time of the last change of the inode, which a
// file has anew when another of its names goes.
func (s indexStat) matchesContent(st unix.Stat_t) bool {
	now := statOf(st)
	now.ctime, now.ctimeNs = s.ctime, s.ctimeNs
	return s == now
}

// before reports whether the file was written before a moment, by the clock of its
// file system: one that was written later may have been written again since git saw
// it, with the same stat data (git's Documentation/technical/racy-git.txt).
func (s indexStat) before(t unix.Timespec) bool {
	return int64(s.mtime) < t.Sec || int64(s.mtime) == t.Sec && int64(s.mtimeNs) < t.Nsec
}
