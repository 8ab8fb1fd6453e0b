package workspace

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"banger/internal/git"
	"banger/internal/hint"
)

// Git holds the files that it compares whole, and of those with many lines fifty times
// as much. So what is large is written here, as it streams by: as binary files of which
// the patch has all of both sides (git-diff(1), --binary).

// largeFile is what git still compares, in bytes of either side.
var largeFile int64 = 8 << 20

// maxLargeNames bounds the paths of large files, in bytes: git is told to leave them out
// in its arguments.
const maxLargeNames = 512 << 10

// side is one side of a change: a blob, or nothing.
type side struct {
	mode uint32
	id   string // git's null id for nothing
	path string
	size int64
}

func (s side) is() bool { return s.mode != 0 }

// large is a change of which one side is large.
type large struct{ old, new side }

// largeChanges lists those between two trees. A large file that was renamed, and is
// the same, is one change.
func (s Store) largeChanges(ctx context.Context, base, tree string, pathspecs []string) ([]large, error) {
	var all []large
	var ids strings.Builder
	var fields []string
	err := s.git().Names(ctx, nil, func(field []byte) error {
		fields = append(fields, string(field))
		head := strings.Fields(strings.TrimPrefix(fields[0], ":"))
		if len(head) != 5 {
			return fmt.Errorf("git diff-tree says %q", fields[0])
		}
		renamed := head[4][0] == 'R'
		if len(fields) == 1 || renamed && len(fields) == 2 {
			return nil
		}
		var modes [2]uint64
		for n := range modes {
			var err error
			if modes[n], err = strconv.ParseUint(head[n], 8, 32); err != nil {
				return err
			}
		}
		c := large{side{mode: uint32(modes[0]), id: head[2], path: fields[1]}, side{mode: uint32(modes[1]), id: head[3], path: fields[len(fields)-1]}}
		fields = nil
		if c.old.id == c.new.id && !renamed {
			return nil
		}
		all = append(all, c)
		ids.WriteString(head[2] + "\n" + head[3] + "\n")
		return nil
	}, append([]string{"diff-tree", "-r", "-z", "--raw", "--find-renames=100%", "--no-abbrev", base, tree, "--"}, pathspecs...)...)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	sizes := map[string]int64{}
	err = s.git().Read(ctx, strings.NewReader(ids.String()), func(r *bufio.Reader) error {
		for {
			line, err := r.ReadString('\n')
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			id, size, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			if n, err := strconv.ParseInt(size, 10, 64); err == nil { // else there is none, and git says so
				sizes[id] = n
			}
		}
	}, "cat-file", "--batch-check=%(objectname) %(objectsize)")
	if err != nil {
		return nil, err
	}
	found, names := map[string]bool{}, 0
	for n := range all {
		c := &all[n]
		c.old.size, c.new.size = sizes[c.old.id], sizes[c.new.id]
		if max(c.old.size, c.new.size) > largeFile {
			found[c.old.path], found[c.new.path] = true, true
			names += len(c.old.path) + len(c.new.path)
		}
	}
	if names > maxLargeNames {
		return nil, hint.Add(errors.New("there are more large files than a patch can have"), "banger fetch takes them")
	}
	// Git can't leave out a path without those below it, which were or will be in its place.
	return slices.DeleteFunc(all, func(c large) bool {
		return !isBelowAny(c.old.path, found) && !isBelowAny(c.new.path, found)
	}), nil
}

// isBelowAny reports whether a path is one of paths, or below one.
func isBelowAny(name string, paths map[string]bool) bool {
	for ; name != "."; name = path.Dir(name) {
		if paths[name] {
			return true
		}
	}
	return false
}

// writeLarge writes a change as git would, if it took the file for binary and had found
// no delta.
func (s Store) writeLarge(ctx context.Context, out io.Writer, c large, prefix string, form Form) error {
	parts := []large{c}
	if kind := uint32(0o170000); c.old.is() && c.new.is() && c.old.mode&kind != c.new.mode&kind { // a file and a link are two things
		gone := side{id: strings.Repeat("0", len(c.old.id))}
		parts = []large{{c.old, gone}, {gone, c.new}}
		parts[0].new.path, parts[1].old.path = c.old.path, c.new.path
	}
	for _, c := range parts {
		if err := s.writeBinary(ctx, out, c, prefix, form); err != nil {
			return err
		}
	}
	return nil
}

func (s Store) writeBinary(ctx context.Context, out io.Writer, c large, prefix string, form Form) error {
	var head strings.Builder
	from, to := quoteName(path.Join("a", prefix, c.old.path)), quoteName(path.Join("b", prefix, c.new.path))
	fmt.Fprintf(&head, "diff --git %s %s\n", from, to)
	same := ""
	switch {
	case !c.old.is():
		fmt.Fprintf(&head, "new file mode %o\n", c.new.mode)
	case !c.new.is():
		fmt.Fprintf(&head, "deleted file mode %o\n", c.old.mode)
	case c.old.mode != c.new.mode:
		fmt.Fprintf(&head, "old mode %o\nnew mode %o\n", c.old.mode, c.new.mode)
	default:
		same = fmt.Sprintf(" %o", c.new.mode)
	}
	if c.old.is() && c.old.id == c.new.id {
		fmt.Fprintf(&head, "similarity index 100%%\nrename from %s\nrename to %s\n", quoteName(path.Join(prefix, c.old.path)), quoteName(path.Join(prefix, c.new.path)))
		_, err := io.WriteString(out, head.String())
		return err
	}
	fmt.Fprintf(&head, "index %s..%s%s\n", c.old.id, c.new.id, same)
	if !c.old.is() {
		from = "/dev/null"
	}
	if !c.new.is() {
		to = "/dev/null"
	}
	switch {
	case c.old.mode == modeGitlink: // one that goes
		_, err := fmt.Fprintf(out, "%s--- %s\n+++ %s\n@@ -1 +0,0 @@\n-Subproject commit %s\n", &head, from, to, c.old.id)
		return err
	case c.new.mode == modeGitlink:
		_, err := fmt.Fprintf(out, "%s--- %s\n+++ %s\n@@ -0,0 +1 @@\n+Subproject commit %s\n", &head, from, to, c.new.id)
		return err
	case form == FormRead:
		_, err := fmt.Fprintf(out, "%sBinary files %s and %s differ\n", &head, from, to)
		return err
	}
	head.WriteString("GIT binary patch\n")
	if _, err := io.WriteString(out, head.String()); err != nil {
		return err
	}
	for _, side := range []side{c.new, c.old} {
		if err := s.writeLiteral(ctx, out, side); err != nil {
			return err
		}
	}
	return nil
}

// writeLiteral writes a blob as a binary patch has it: deflated, in lines of 52 bytes.
func (s Store) writeLiteral(ctx context.Context, out io.Writer, of side) error {
	if _, err := fmt.Fprintf(out, "literal %d\n", of.size); err != nil {
		return err
	}
	lines := &base85Lines{w: bufio.NewWriterSize(out, 64<<10)}
	deflate := zlib.NewWriter(lines)
	var err error
	if of.is() {
		err = s.git().Stream(ctx, nil, deflate, "cat-file", "blob", of.id)
	}
	if err == nil {
		err = deflate.Close()
	}
	if err == nil {
		err = lines.close()
	}
	return err
}

// base85Lines writes bytes in the lines of git's binary patches: a letter for their
// number, and five characters for four bytes each.
type base85Lines struct {
	w    *bufio.Writer
	line []byte
}

const (
	// lineBytes is how many bytes a line stands for.
	lineBytes = 52
	base85    = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
)

func (b *base85Lines) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		take := min(len(p), lineBytes-len(b.line))
		b.line = append(b.line, p[:take]...)
		p = p[take:]
		if len(b.line) == lineBytes {
			if err := b.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (b *base85Lines) flush() error {
	n := len(b.line)
	if n == 0 {
		return nil
	}
	length := byte('A' + n - 1)
	if n > 26 {
		length = byte('a' + n - 27)
	}
	text := []byte{length}
	for line := append(b.line, 0, 0, 0); len(line) >= 4; line = line[4:] {
		v := uint32(line[0])<<24 | uint32(line[1])<<16 | uint32(line[2])<<8 | uint32(line[3])
		var five [5]byte
		for i := range five {
			five[4-i], v = base85[v%85], v/85
		}
		text = append(text, five[:]...)
	}
	b.line = b.line[:0]
	_, err := b.w.Write(append(text, '\n'))
	return err
}

// close writes what is left, and the empty line after it.
func (b *base85Lines) close() error {
	if err := b.flush(); err != nil {
		return err
	}
	b.w.WriteByte('\n')
	return b.w.Flush() // of all writes
}

// quoteName quotes a path where git would (core.quotePath).
func quoteName(name string) string {
	if !bytes.ContainsFunc([]byte(name), func(r rune) bool { return r < ' ' || r >= 0x7f || r == '"' || r == '\\' }) {
		return name
	}
	return git.Quote(name)
}
