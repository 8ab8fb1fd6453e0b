package workspace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"banger/internal/durable"
)

// An apply keeps a journal in the repository's git directory. It first writes there
// what each path will hold, in new/N, and what it holds, in old/N, and then says so
// in the journal; only then does it change the tree, path by path, then the index and
// the branch, if they were asked for. One that was cut is taken back by the next
// (Recover), and one that ended can be taken back (Undo): the journal of the last one
// stays.
const (
	journalDir  = "banger-apply" // under way
	undoDir     = "banger-undo"  // the last that ended
	journalFile = "journal.json"
	journalLock = "banger-apply.lock"
	// journalFormat is the version of the journal's JSON. Version 1 has no index and no
	// commit.
	journalFormat = 2
)

// Files of the index in a journal.
const (
	indexOld = "index.old" // as it was; not there if there was none
	indexNew = "index.new"
)

type journal struct {
	Format int       `json:"format"`
	At     time.Time `json:"at"`
	VM     string    `json:"vm"`
	// Store is the id of the work's store, Tree the work's tree, or what of it was
	// chosen, and Before the tree of it that was applied before; "" if none was.
	Store  string        `json:"store"`
	Tree   string        `json:"tree"`
	Before string        `json:"before,omitempty"`
	Paths  []pathState   `json:"paths"`
	Index  *[]indexState `json:"index,omitempty"` // nil if the index is left alone
	Commit *refMove      `json:"commit,omitempty"`
}

// pathState is what a path held before and after, by git's modes: 0 is nothing.
type pathState struct {
	Path    []byte `json:"path"`
	OldMode uint32 `json:"old_mode"`
	NewMode uint32 `json:"new_mode"`
}

// maxJournal bounds a journal's JSON, in bytes: a path takes some hundred.
const maxJournal = 1 << 30

// readJournal reads the journal in dir; fs.ErrNotExist says that there is none. It may
// be a stranger's, with the rest of the repository: no link is followed in dir.
func readJournal(dir string) (j journal, err error) {
	for _, d := range []string{dir, filepath.Join(dir, "old"), filepath.Join(dir, "new")} {
		if fi, err := os.Lstat(d); err == nil && !fi.IsDir() {
			return j, fmt.Errorf("%q is %v, not a directory of an apply", d, fi.Mode().Type())
		}
	}
	name := filepath.Join(dir, journalFile)
	text, err := readSmall(name, maxJournal)
	if err != nil {
		return j, err
	}
	if len(text) == 0 {
		return j, fs.ErrNotExist
	}
	if err := json.Unmarshal(text, &j); err != nil {
		return j, fmt.Errorf("read %q: %w", name, err)
	}
	if j.Format < 1 || j.Format > journalFormat {
		return j, fmt.Errorf("%q has the format %d: this banger knows %d", dir, j.Format, journalFormat)
	}
	return j, j.check(name)
}

// check refuses what no apply wrote.
func (j journal) check(name string) error {
	for _, p := range j.Paths {
		if why := badPath(p.Path); why != "" {
			return fmt.Errorf("%q names the path %q: %s", name, p.Path, why)
		}
	}
	if j.Index != nil {
		for _, is := range *j.Index {
			if why := badPath(is.Path); why != "" || bytes.IndexByte(is.Path, 0) >= 0 {
				return fmt.Errorf("%q names the path %q: %s", name, is.Path, why)
			}
			for _, e := range slices.Concat(is.Old, is.New) {
				if !isHex(e.ID) {
					return fmt.Errorf("%q names the object %.80q", name, e.ID)
				}
			}
		}
	}
	if j.Commit != nil {
		if err := j.Commit.check(); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	return nil
}

// removeJournal removes a journal's directory, the journal first: without it, the rest
// is nothing that has to be taken back. Of a link only the link goes.
func removeJournal(dir string) error {
	if fi, err := os.Lstat(dir); err == nil && !fi.IsDir() {
		return os.Remove(dir)
	}
	if err := os.Remove(filepath.Join(dir, journalFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(dir)
}

// appliedFile says which tree of each store was applied last: the next apply merges
// what came after it. What the user has of it already is no conflict then.
const appliedFile = "banger-applied.json"

// readApplied returns the trees by their stores' ids. A file that can't be read is as
// none: the base is then what went in, which is only more cautious.
func readApplied(r *Repository) map[string]string {
	trees := map[string]string{}
	if text, err := readSmall(filepath.Join(r.GitDir, appliedFile), maxConfig); err == nil {
		json.Unmarshal(text, &trees)
	}
	if trees == nil { // it says null
		trees = map[string]string{}
	}
	return trees
}

// noteApplied records the tree of a store; "" forgets it.
func noteApplied(r *Repository, store, tree string) error {
	trees := readApplied(r)
	trees[store] = tree
	if tree == "" {
		delete(trees, store)
	}
	text, err := json.Marshal(trees)
	if err != nil {
		return err
	}
	return durable.Replace(filepath.Join(r.GitDir, appliedFile), text)
}
