package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"banger/internal/git"
)

// Limits of a guest's tree.
const (
	maxEntries = 2_000_000
	maxName    = 255 // bytes of one name, as on every file system of Linux's
)

// NameError is a path of a guest's that no tree of the host's may have.
type NameError struct {
	Path []byte
	Why  string
}

func (e *NameError) Error() string { return fmt.Sprintf("%q: %s", e.Path, e.Why) }

// checkTree refuses a tree with paths that must not be written on any system, and
// with submodules that the base does not have. Each line of git ls-tree that is no
// directory's is given to file.
func checkTree(ctx context.Context, g git.Git, tree, base string, file func(line []byte) error) error {
	var links map[string]bool // the base's submodules, if they are asked for
	entries := 0
	seen := ""
	return g.Names(ctx, nil, func(line []byte) error {
		if entries++; entries > maxEntries {
			return fmt.Errorf("it has more than %d paths", maxEntries)
		}
		path, found := treePath(line, "")
		if !found {
			return fmt.Errorf("git ls-tree says %.200q", line)
		}
		if why := badPath(path); why != "" {
			return &NameError{bytes.Clone(path), why}
		}
		if string(path) == seen {
			return &NameError{bytes.Clone(path), "it is there twice"}
		}
		seen = string(path)
		switch {
		case bytes.HasPrefix(line, []byte("40000 ")), bytes.HasPrefix(line, []byte("040000 ")):
			return nil
		case !bytes.HasPrefix(line, []byte("160000 ")):
			return file(line)
		case links == nil:
			var err error
			if links, err = submodulesOf(ctx, g, base); err != nil {
				return err
			}
		}
		if !links[string(path)] {
			return &NameError{bytes.Clone(path), "it is a submodule, and the base has none there"}
		}
		return file(line)
	}, "ls-tree", "-r", "-t", "-z", "--full-tree", tree)
}

// submodulesOf are the paths of a commit's submodules.
func submodulesOf(ctx context.Context, g git.Git, commit string) (map[string]bool, error) {
	links := map[string]bool{}
	err := g.Names(ctx, nil, func(line []byte) error {
		if path, found := treePath(line, "160000 "); found {
			links[string(path)] = true
		}
		return nil
	}, "ls-tree", "-r", "-z", "--full-tree", commit)
	return links, err
}

// treePath is the path in a line of ls-tree, "MODE TYPE ID\tPATH", that begins with
// mode.
func treePath(line []byte, mode string) ([]byte, bool) {
	if !bytes.HasPrefix(line, []byte(mode)) {
		return nil, false
	}
	_, path, found := bytes.Cut(line, []byte("\t"))
	return path, found
}

// badPath says why a path must not be written; "" if it may.
func badPath(path []byte) string {
	if len(path) >= unix.PathMax {
		return "it is longer than a path can be"
	}
	for part := range bytes.SplitSeq(path, []byte("/")) {
		switch {
		case len(part) == 0:
			return "it has an empty name"
		case string(part) == ".", string(part) == "..":
			return "it leads out of its directory"
		case len(part) > maxName:
			return "it has a name that is longer than a name can be"
		case IsDotGit(string(part)):
			return "it is a git directory on some file system"
		}
	}
	return ""
}

// IsDotGit reports whether a name is .git on some file system: in any case, with the
// characters that HFS+ leaves out, in NTFS's short form, or with what NTFS drops at
// the end (git's utf8.c and path.c: is_hfs_dotgit, is_ntfs_dotgit).
func IsDotGit(name string) bool {
	plain := strings.ToLower(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.Is(hfsIgnored, r) {
			return r
		}
		return -1
	}, name))
	plain, _, _ = strings.Cut(plain, ":")    // an alternate data stream
	plain, _, _ = strings.Cut(plain, `\`)    // a directory there
	plain = strings.TrimRight(plain, ". \t") // dropped there
	return plain == ".git" || plain == "git~1"
}

// hfsIgnored are the characters that HFS+ leaves out of a name (git's utf8.c).
var hfsIgnored = &unicode.RangeTable{R16: []unicode.Range16{
	{Lo: 0x200c, Hi: 0x200f, Stride: 1}, {Lo: 0x202a, Hi: 0x202e, Stride: 1},
	{Lo: 0x206a, Hi: 0x206f, Stride: 1}, {Lo: 0xfeff, Hi: 0xfeff, Stride: 1},
}}

// isNameError reports whether err is about a path.
func isNameError(err error) bool {
	var named *NameError
	return errors.As(err, &named)
}
