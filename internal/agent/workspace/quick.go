package workspace

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/workspace/wire"
)

// Bounds of what a quick look takes. Beyond them git's deltas are worth its time.
const (
	quickPaths = 1000
	quickBytes = 256 << 10 // of files
	quickTrees = 1 << 20   // bytes of trees
)

// quick is a look at a workspace in an ordinary state: two gits say what git ignores and
// what a file is to git, and the trees are made here. Each git costs an emulated guest as
// much as the rest.
type quick struct {
	*looked
	dir   string // the git directory
	first *indexFile
	// rooted says that the base's tree is that of the first index.
	rooted bool
	// dirty are the directories that are not as in the first index. Each ends with a slash.
	dirty map[string]bool
	kept  map[string]bool // the ids of the objects
}

// lookQuickly brings the report's tree, branches and objects up to date if the workspace
// is in an ordinary state, and reports whether it is. If not, or if anything fails, the report
// and the index are as before: git finds out all of it then, or why it can't.
func (l *looked) lookQuickly(ctx context.Context, q wire.Question, dir string) bool {
	before := l.Report
	w := quick{looked: l, dir: dir, dirty: map[string]bool{}, kept: map[string]bool{}}
	if w.look(ctx, q) {
		return true
	}
	l.Report, l.objects = before, nil
	return false
}

func (w *quick) look(ctx context.Context, q wire.Question) bool {
	base, ok := baseIn(w.dir)
	if !ok || base.Base != q.Base || len(q.Submodules) > 0 {
		return false
	}
	first, err := readIndex(filepath.Join(w.dir, firstIndex), q.Hash)
	if err != nil || !isOrdinary(first) {
		return false
	}
	now, err := first.again(filepath.Join(w.temp, "index"), q.Hash)
	if err != nil || now != first && !isOrdinary(now) {
		return false
	}
	w.first, w.rooted = first, hex.EncodeToString(first.trees[""]) == base.Tree
	if !w.branches(q, base) {
		return false
	}
	f, ok := w.changed(ctx, now)
	if !ok {
		return false
	}
	looked, ok := w.hash(ctx, q.Hash, now, f)
	if !ok {
		return false
	}
	entries, ok := merge(now, f, looked)
	return ok && w.make(q.Hash, entries)
}

// isOrdinary reports whether all of an index are files and links that git looks at.
func isOrdinary(x *indexFile) bool {
	for n := range x.entries {
		e := &x.entries[n]
		if e.Stage != 0 || e.Bits != 0 || e.Mode == modeGitlink || e.Mode&unix.S_IFMT == unix.S_IFDIR {
			return false
		}
	}
	return true
}

// branches reads HEAD and the branches, if the host has the commits of all.
func (w *quick) branches(q wire.Question, base wire.Base) bool {
	known := map[string]bool{base.Head: true}
	for _, ref := range q.Refs {
		known[ref.ID] = true
	}
	refs, ok := readBranches(w.dir)
	if !ok || slices.ContainsFunc(refs, func(ref wire.Ref) bool { return !known[ref.ID] }) {
		return false
	}
	head, err := os.ReadFile(filepath.Join(w.dir, "HEAD"))
	name, found := bytes.CutPrefix(bytes.TrimSuffix(head, []byte("\n")), []byte("ref: "))
	if err != nil || !found || !isPlainBranch(string(name)) {
		return false
	}
	w.Refs, w.Branch, w.Head = refs, name, ""
	for _, ref := range refs {
		if bytes.Equal(ref.Name, name) {
			w.Head = ref.ID
		}
	}
	return true
}

// changed lists what is not as the index says. It knows no repository inside, and no
// ignored path of the base.
func (w *quick) changed(ctx context.Context, now *indexFile) (*files, bool) {
	f := &files{own: map[string]bool{}}
	err := exactly(w.own).Names(ctx, nil, func(line []byte) error {
		tag, name, _ := strings.Cut(string(line), " ")
		if tag == "?" {
			f.others = append(f.others, name)
		} else {
			f.edited = append(f.edited, name)
		}
		return nil
	}, "ls-files", "-z", "-t", "-m", "-d", "-o")
	if err != nil || len(f.edited) > quickPaths || w.leaveOutIgnored(ctx, f) != nil || len(f.nested) > 0 {
		return nil, false
	}
	if len(f.others) > 0 {
		for _, e := range now.entries {
			f.tracked = append(f.tracked, string(e.Path))
		}
	}
	f.settle(w.own.Dir)
	if len(f.edited) > quickPaths || len(f.nested) > 0 {
		return nil, false
	}
	if len(f.ignored) > 0 && !w.rooted {
		return nil, false // the base may have one of them
	}
	for name := range f.ignored {
		if strings.HasSuffix(name, "/") || w.first.find(name) != nil {
			return nil, false
		}
	}
	return f, true
}

// hash has git say what the edited files are to it: in an index that has their old entries
// only, which is made and read in no time. Stat data of theirs would let it take one for
// what it was.
func (w *quick) hash(ctx context.Context, hash string, now *indexFile, f *files) ([]indexEntry, bool) {
	if len(f.edited) == 0 {
		return nil, true
	}
	var old []wire.Entry
	var names bytes.Buffer
	size := int64(0)
	for _, name := range f.edited {
		fi, err := os.Lstat(filepath.Join(w.own.Dir, name))
		if err != nil {
			return nil, false
		}
		if size += fi.Size(); size > quickBytes { // git would hash it twice
			return nil, false
		}
		if e := now.find(name); e != nil {
			old = append(old, e.Entry)
		}
		names.WriteString(name + "\x00")
	}
	sum, err := newHash(hash)
	if err != nil {
		return nil, false
	}
	var text bytes.Buffer
	b := bufio.NewWriter(&text)
	indexWriter{sum: sum, version: 2}.write(b, old)
	b.Flush()
	path := filepath.Join(w.temp, "edited")
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		return nil, false
	}
	small := w.own
	small.Env = append(slices.Clone(small.Env), "GIT_INDEX_FILE="+path)
	if _, err := small.Run(ctx, &names, "update-index", "--add", "--replace", "--remove", "-z", "--stdin"); err != nil {
		return nil, false
	}
	x, err := readIndex(path, hash)
	if err != nil || !isOrdinary(x) {
		return nil, false
	}
	return x.entries, true
}

// merge puts what git said of the edited files in the place of the index's entries. It
// refuses a file where a directory is.
func merge(now *indexFile, f *files, looked []indexEntry) ([]wire.Entry, bool) {
	dropped := slices.Sorted(slices.Values(slices.Concat(f.gone, f.edited)))
	entries := make([]wire.Entry, 0, len(now.entries)+len(looked))
	for n := range now.entries {
		e := &now.entries[n]
		for len(looked) > 0 && bytes.Compare(looked[0].Path, e.Path) < 0 {
			entries, looked = append(entries, looked[0].Entry), looked[1:]
		}
		for len(dropped) > 0 && dropped[0] < string(e.Path) {
			dropped = dropped[1:]
		}
		if len(dropped) == 0 || dropped[0] != string(e.Path) {
			entries = append(entries, e.Entry)
		}
	}
	for _, e := range looked {
		entries = append(entries, e.Entry)
	}
	for _, name := range f.edited {
		if _, is := findEntry(entries, name); is && isIn(entries, name+"/") {
			return nil, false
		}
		for at := strings.LastIndexByte(name, '/'); at > 0; at = strings.LastIndexByte(name[:at], '/') {
			if _, is := findEntry(entries, name[:at]); is {
				return nil, false
			}
		}
	}
	return entries, true
}

// isIn reports whether an entry lies in the directory dir, which ends with a slash.
func isIn(entries []wire.Entry, dir string) bool {
	n, _ := findEntry(entries, dir)
	return n < len(entries) && bytes.HasPrefix(entries[n].Path, []byte(dir))
}

func findEntry(entries []wire.Entry, name string) (int, bool) {
	return slices.BinarySearchFunc(entries, name, func(e wire.Entry, name string) int { return strings.Compare(string(e.Path), name) })
}

// make makes the tree of the entries, and keeps those objects that the host may lack.
func (w *quick) make(hash string, entries []wire.Entry) bool {
	w.objects = []object{}
	old, size := w.first.entries, 0
	for n := range entries {
		e := entries[n]
		for len(old) > 0 && bytes.Compare(old[0].Path, e.Path) < 0 {
			w.soil(old[0].Path)
			old = old[1:]
		}
		is := len(old) > 0 && bytes.Equal(old[0].Path, e.Path)
		same := is && bytes.Equal(old[0].ID, e.ID)
		if !same || old[0].Mode != e.Mode {
			w.soil(e.Path)
		}
		// Without stat data, the file that went in was another one than the index's.
		if !same || !old[0].hasStat() {
			content, ok := w.blob(hash, e, quickBytes-size)
			if !ok {
				return false
			}
			size += len(content)
			w.keep(e.ID, object{kind: blobObject, content: content})
		}
		if is {
			old = old[1:]
		}
	}
	for _, e := range old {
		w.soil(e.Path)
	}
	trees := 0
	c := cacheTree{hash: hash, known: w.known, made: func(id, content []byte) {
		if trees += len(content); trees <= quickTrees {
			w.keep(id, object{kind: treeObject, content: bytes.Clone(content)})
		}
	}}
	id, err := c.add("", entries, 0)
	w.Tree = hex.EncodeToString(id)
	return err == nil && trees <= quickTrees
}

// keep takes an object into the pack, once.
func (w *quick) keep(id []byte, o object) {
	if !w.kept[string(id)] {
		w.kept[string(id)] = true
		w.objects = append(w.objects, o)
	}
}

// soil notes that the directories of a path are not as they went in.
func (w *quick) soil(path []byte) {
	w.dirty[""] = true
	for at, c := range path {
		if c == '/' {
			w.dirty[string(path[:at+1])] = true
		}
	}
}

// known is the id of a directory that is as it went in, if the host has it.
func (w *quick) known(dir []byte) []byte {
	if !w.rooted || w.dirty[string(dir)] {
		return nil
	}
	return w.first.trees[string(dir)]
}

// blob reads the content of an entry from the tree: git has written no other for it, or
// it is refused. So is one of more than max bytes.
func (w *quick) blob(hash string, e wire.Entry, max int) ([]byte, bool) {
	path := filepath.Join(w.own.Dir, string(e.Path))
	var content []byte
	if e.Mode&unix.S_IFMT == unix.S_IFLNK {
		target, err := os.Readlink(path)
		if err != nil {
			return nil, false
		}
		content = []byte(target)
	} else {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, false
		}
		defer f.Close()
		fi, err := f.Stat()
		if err != nil || !fi.Mode().IsRegular() || fi.Size() > int64(max) {
			return nil, false
		}
		content = make([]byte, fi.Size())
		if n, err := f.ReadAt(content, 0); err != nil && n < len(content) {
			return nil, false
		}
	}
	id, err := objectID(hash, "blob", content)
	return content, err == nil && len(content) <= max && bytes.Equal(id, e.ID)
}
