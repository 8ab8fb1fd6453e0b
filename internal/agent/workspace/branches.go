package workspace

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"banger/internal/workspace/wire"
)

// readBranches reads the branches of a git directory, by name, as for-each-ref lists them.
// It reports false for all that is not an ordinary branch in git's own files: git may
// know more of it.
func readBranches(dir string) ([]wire.Ref, bool) {
	for _, other := range []string{"commondir", "reftable", "refs/stash"} {
		if _, err := os.Lstat(filepath.Join(dir, other)); !errors.Is(err, fs.ErrNotExist) {
			return nil, false
		}
	}
	ids := map[string]string{}
	// Before the packed ones: git packs them before it removes them.
	err := filepath.WalkDir(filepath.Join(dir, "refs", "heads"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || !d.Type().IsRegular() || !isPlainBranch(name) {
			return errors.Join(err, fs.ErrInvalid)
		}
		text, err := os.ReadFile(path)
		ids[name] = strings.TrimSpace(string(text))
		return err
	})
	if err != nil {
		return nil, false
	}
	packed, err := os.ReadFile(filepath.Join(dir, "packed-refs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false
	}
	for line := range bytes.Lines(packed) {
		id, name, found := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		switch {
		case line[0] == '#', line[0] == '^':
			continue
		case !found, name == stash, strings.HasPrefix(name, "refs/heads/") && !isPlainBranch(name):
			return nil, false
		case !strings.HasPrefix(name, "refs/heads/"):
			continue
		}
		if _, loose := ids[name]; !loose {
			ids[name] = id
		}
	}
	var refs []wire.Ref
	for name, id := range ids {
		if _, err := wire.ID(id); err != nil || id != strings.ToLower(id) {
			return nil, false
		}
		refs = append(refs, wire.Ref{Name: []byte(name), ID: id})
	}
	slices.SortFunc(refs, func(a, b wire.Ref) int { return bytes.Compare(a.Name, b.Name) })
	return refs, true
}

// isPlainBranch reports whether a full ref name is surely a branch's by git's rules too.
func isPlainBranch(name string) bool {
	rest, found := strings.CutPrefix(name, "refs/heads/")
	if !found {
		return false
	}
	for part := range strings.SplitSeq(rest, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".") || strings.HasSuffix(part, ".lock") || strings.Contains(part, "..") {
			return false
		}
	}
	for _, c := range []byte(rest) {
		if c != '/' && c != '.' && c != '-' && c != '_' && c != '+' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
