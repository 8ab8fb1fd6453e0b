package workspace

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/durable"
	"banger/internal/git"
	"banger/internal/lease"
	"banger/internal/lfs"
	"banger/internal/workspace/wire"
)

// Limits of what a guest may report.
const (
	maxRefs  = 10_000
	maxStats = 64 // a SHA-256 in hex
	// maxPack bounds a pack, in bytes.
	maxPack = 4 << 30
)

// maxFile is wire.MaxFile; tests lower it.
var maxFile = int64(wire.MaxFile)

// Work is what a guest made of its workspace, checked, and in the store.
type Work struct {
	At      time.Time `json:"at"`
	Tree    string    `json:"tree"`              // of all files
	Commit  string    `json:"commit"`            // whose tree is Tree: what refs/banger/work names
	Head    string    `json:"head,omitempty"`    // of the guest; "" on an unborn branch
	Branch  string    `json:"branch,omitempty"`  // full name; "" if the guest's HEAD is detached
	Commits int       `json:"commits"`           // since the host's HEAD, on Head and all branches
	Stashes int       `json:"stashes,omitempty"` // entries of the stash
	Files   int       `json:"files"`             // in which Tree differs from the base's
	Ignored int       `json:"ignored"`           // files that git ignores in the guest, and that are not in Tree
	// Nested are the repositories that the guest made in the tree: their files are in
	// Tree, their histories are not.
	Nested []string `json:"nested,omitempty"`
	// Anew says that the guest's repository was gone: Tree is all that came out of it,
	// and what came out before is kept.
	Anew bool `json:"anew,omitempty"`
	// Stats is the guest's digest of all files, if the image has no git.
	Stats string `json:"stats,omitempty"`
	// Lacking counts the LFS files whose content did not come out, because the guest
	// had none: their pointers are in Tree or in a commit. Lacks are the first of them.
	Lacking int      `json:"lacking,omitempty"`
	Lacks   []string `json:"lacks,omitempty"`
	// Copy is which copy of the repository it is the work of, as the guest says.
	Copy string `json:"copy,omitempty"`
}

// Question is what a guest is asked about the store's workspace.
func (s Store) Question(ctx context.Context) (q wire.Question, err error) {
	i, err := s.Info()
	if err != nil {
		return q, err
	}
	q = wire.Question{Path: []byte(i.VM.GuestPath), Base: i.Base, Hash: i.Hash, Tree: i.Tree, Private: i.Private, Submodules: i.Submodules}
	if w, err := s.Work(); err == nil {
		q.Tree = w.Tree
	} else if !errors.Is(err, ErrNoWork) {
		return q, err
	}
	list, err := s.guestRefs(ctx)
	for _, ref := range list {
		q.Refs = append(q.Refs, wire.Ref{Name: []byte("refs/" + strings.TrimPrefix(ref.name, refPrefix)), ID: ref.id})
	}
	return q, err
}

// Known is what the store has of a guest's workspace, whose work is w.
func (s Store) Known(ctx context.Context, w Work) (k wire.Known, err error) {
	k.Question, err = s.Question(ctx)
	k.Tree, k.Head, k.Anew, k.Stats = w.Tree, w.Head, w.Anew, w.Stats
	return k, err
}

// Known is what a guest has of the plan's workspace that arrived at path.
func (p *Plan) Known(path []byte) wire.Known {
	k := wire.Known{Head: p.Head, Question: wire.Question{
		Path: path, Base: p.Base, Hash: p.Repo.Hash, Tree: p.Tree, Private: p.Private, Submodules: p.submodulePaths(),
	}}
	if p.Head != "" && p.Branch != "" {
		k.Refs = []wire.Ref{{Name: []byte(p.Branch), ID: p.Head}}
	}
	return k
}

// IsGone asks a guest whether there is no directory any more where the workspace was.
func (s Store) IsGone(ctx context.Context, ask Ask) (bool, error) {
	q, err := s.Question(ctx)
	if err != nil {
		return false, err
	}
	var question bytes.Buffer
	if err := wire.WriteJSON(&question, q); err != nil {
		return false, err
	}
	var report wire.Report
	err = ask.read(ctx, wire.Answer, &question, func(_ context.Context, answer io.Reader) error {
		return wire.ReadJSON(bufio.NewReader(answer), &report)
	})
	return report.Gone, err
}

// Import reads a guest's report and brings it into the store. Nothing of it is
// believed: each object is hashed again in quarantine, each must be whole and be
// what it says, and the tree is built once more and compared. An error leaves the
// store as it was. Work for which there is no room is ErrNoRoom: the stream is read
// no further than that.
func (s Store) Import(ctx context.Context, in io.Reader, room Room) (w Work, err error) {
	defer func() { err = explainFull(err, s.Dir) }()
	i, err := s.Info()
	if err != nil {
		return w, err
	}
	r := bufio.NewReaderSize(in, 64<<10)
	var report wire.Report
	if err := wire.ReadJSON(r, &report); err != nil {
		return w, fmt.Errorf("read the guest's report: %w", err)
	}
	if report.Error != "" {
		return w, fmt.Errorf("the guest says: %.1000q", report.Error)
	}
	q, err := s.quarantine()
	if err != nil {
		return w, err
	}
	defer q.remove()
	if report.Files {
		if report, err = q.makeTree(ctx, r, i, report, room); err != nil {
			return w, fmt.Errorf("make the tree of the guest's files: %w", err)
		}
	}
	if err := checkReport(i, report); err != nil {
		return w, fmt.Errorf("the guest's report is refused: %w", err)
	}
	if report.Pack {
		if err := q.index(ctx, r, report, i.Base, room); err != nil {
			return w, err
		}
	}
	if err := q.check(ctx, report, i.Base); err != nil {
		return w, fmt.Errorf("the guest's work is refused: %w", err)
	}
	if report.Pack {
		if err := q.onlyNew(ctx, i, report); err != nil {
			return w, err
		}
	}
	if report.Pack && room != nil {
		n, err := room()
		if err == nil && n < 0 {
			err = ErrNoRoom
		}
		if err != nil {
			return w, err
		}
	}
	if err := q.keep(); err != nil {
		return w, err
	}
	if err := s.setAside(report.Copy); err != nil {
		return w, err
	}
	w = Work{Copy: report.Copy, Tree: report.Tree, Head: report.Head, Branch: string(report.Branch), Ignored: report.Ignored, Anew: report.Anew, Stats: report.Stats}
	for _, n := range report.Nested {
		w.Nested = append(w.Nested, string(n))
	}
	if err := s.record(ctx, i, report, &w); err != nil {
		return w, err
	}
	w.At = time.Now().UTC()
	return w, s.write(workFile, w)
}

// checkReport refuses what can't be a report.
func checkReport(i Info, r wire.Report) error {
	length := 40
	if i.Hash == "sha256" {
		length = 64
	}
	isID := func(id string) bool {
		return len(id) == length && strings.Trim(id, "0123456789abcdef") == ""
	}
	switch {
	case !isID(r.Tree):
		return fmt.Errorf("%.80q is no tree's id", r.Tree)
	case r.Head != "" && !isID(r.Head):
		return fmt.Errorf("%.80q is no commit's id", r.Head)
	case len(r.Refs) > maxRefs:
		return fmt.Errorf("it has %d branches: the most is %d", len(r.Refs), maxRefs)
	case len(r.Stats) > maxStats:
		return fmt.Errorf("%.80q is no digest", r.Stats)
	case len(r.Copy) > wire.MaxCopy:
		return fmt.Errorf("%.80q names no copy", r.Copy)
	case len(r.Branch) > 0 && !isBranch(r.Branch):
		return fmt.Errorf("%.80q is no branch's name", r.Branch)
	}
	for _, ref := range r.Refs {
		if !isBranch(ref.Name) && !isStash(ref.Name) {
			return fmt.Errorf("%.80q is no branch's name", ref.Name)
		}
		if !isID(ref.ID) {
			return fmt.Errorf("%.80q is no commit's id", ref.ID)
		}
	}
	return nil
}

// isStash reports whether a ref name is that of an entry of the stash.
func isStash(name []byte) bool {
	number, found := bytes.CutPrefix(name, []byte("refs/stash/"))
	n, err := strconv.Atoi(string(number))
	return found && err == nil && n >= 0 && n < wire.MaxStashes && strconv.Itoa(n) == string(number)
}

// Changed reports whether the guest changed anything that came out.
func (w Work) Changed() bool { return w.Files > 0 || w.Commits > 0 || w.Stashes > 0 }

// guestRefs are the store's refs of the guest's branches and stash entries, in the order of
// a report's.
func (s Store) guestRefs(ctx context.Context) ([]ref, error) {
	list, err := listRefs(ctx, s.git(), refHead, refStash)
	n := slices.IndexFunc(list, func(r ref) bool { return strings.HasPrefix(r.name, refStash) })
	if n >= 0 {
		slices.SortFunc(list[n:], func(a, b ref) int { // as numbers
			return cmp.Or(cmp.Compare(len(a.name), len(b.name)), strings.Compare(a.name, b.name))
		})
	}
	return list, err
}

// isBranch reports whether a full ref name is a branch's, by the rules of
// git-check-ref-format(1).
func isBranch(name []byte) bool {
	rest, found := bytes.CutPrefix(name, []byte("refs/heads/"))
	if !found || len(name) > 1024 {
		return false
	}
	for part := range bytes.SplitSeq(rest, []byte("/")) {
		if len(part) == 0 || part[0] == '.' || bytes.HasSuffix(part, []byte(".lock")) || bytes.HasSuffix(part, []byte(".")) {
			return false
		}
	}
	for _, c := range rest {
		if c <= ' ' || c == 0x7f || strings.IndexByte("~^:?*[\\", c) >= 0 {
			return false
		}
	}
	return !bytes.Contains(rest, []byte("..")) && !bytes.Contains(rest, []byte("@{")) && string(rest) != "@"
}

// incoming begins the names of quarantines in a store.
const incoming = "incoming-"

// quarantine holds a guest's objects until they are checked.
type quarantine struct {
	store Store
	lease *lease.Lease
	dir   string // the lease's
	git   git.Git
	// contents are of LFS files, beneath dir as in a git directory.
	contents map[lfs.Pointer]bool
}

func (s Store) quarantine() (*quarantine, error) {
	lease.Sweep(s.Dir, incoming) // those of an earlier import that was cut
	l, err := lease.New(s.Dir, incoming)
	if err != nil {
		return nil, err
	}
	dir := l.Dir
	if err := os.MkdirAll(filepath.Join(dir, "pack"), 0o700); err != nil {
		l.Close()
		return nil, err
	}
	q := &quarantine{store: s, lease: l, dir: dir, contents: map[lfs.Pointer]bool{}}
	q.git = s.git(append(q.environ(dir), "GIT_INDEX_FILE="+filepath.Join(dir, "index"))...)
	return q, nil
}

// environ has git see the objects in dir, and the store's.
func (q *quarantine) environ(dir string) []string {
	return []string{"GIT_OBJECT_DIRECTORY=" + dir, "GIT_ALTERNATE_OBJECT_DIRECTORIES=" + git.Quote(filepath.Join(q.store.repo(), "objects"))}
}

func (q *quarantine) remove() { q.lease.Close() }

// index writes the pack and its index, and looks at each object as git fsck does. If
// that refuses one, the pack is looked at once more to name the path.
func (q *quarantine) index(ctx context.Context, r io.Reader, report wire.Report, base string, room Room) error {
	_, came, err := q.store.packs()
	if err != nil {
		return err
	}
	limit, err := room.forPack(came)
	if err != nil {
		return err
	}
	if limit == 0 { // which git takes for none
		return ErrNoRoom
	}
	copied, err := os.OpenFile(filepath.Join(q.dir, "incoming.pack"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	t := &intake{in: r, limit: limit, copy: copied}
	defer t.end()
	args := []string{"index-pack", "--stdin", "--fix-thin", fmt.Sprintf("--max-input-size=%d", limit)}
	refused, err := q.feed(ctx, t, append(args, q.store.strict())...)
	if err != nil {
		return err
	}
	switch err := t.failed(); {
	case err != nil && refused != nil:
		return err // whatever git made of it
	case refused == nil:
		return nil
	case ctx.Err() != nil || errors.Is(refused, unix.ENOSPC):
		return refused
	}
	refused = fmt.Errorf("the guest's objects are refused: %w", refused)
	if _, err := io.Copy(io.Discard, t); err != nil || t.copy == nil {
		return refused
	}
	if _, err := t.copy.Seek(0, io.SeekStart); err != nil {
		return refused
	}
	if _, err := q.git.Run(ctx, t.copy, args...); err != nil {
		return refused
	}
	if err := checkTree(ctx, q.git, report.Tree, base, func([]byte) error { return nil }); isNameError(err) {
		return fmt.Errorf("the guest's objects are refused: %w", err)
	}
	return refused
}

// feed runs git with what comes from a guest, and returns git's error. Git ends with the
// pack; the guest may take its time to end what it sends, and is not waited for.
func (q *quarantine) feed(ctx context.Context, from io.Reader, args ...string) (refused, err error) {
	in, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	stopped := make(chan struct{})
	go func() { // ends with git, or with what the guest sends
		defer close(stopped)
		io.Copy(out, struct{ io.Reader }{from})
		out.Close()
	}()
	_, refused = q.git.Run(ctx, in, args...)
	in.Close()
	if refused != nil {
		<-stopped // the rest of it is wanted
	}
	return refused, nil
}

// keep moves the checked objects into the store.
func (q *quarantine) keep() error {
	for o := range q.contents {
		to := q.store.objectFile(o)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(q.dir, lfs.ObjectPath(o.OID)), to); err != nil {
			return err
		}
	}
	packs := filepath.Join(q.store.repo(), "objects", "pack")
	return errors.Join(movePack(filepath.Join(q.dir, "pack"), packs), durable.SyncDir(packs))
}

// record makes the commit of the whole tree and writes the store's refs in one
// transaction.
func (s Store) record(ctx context.Context, i Info, r wire.Report, w *Work) (err error) {
	parent := i.Base
	if r.Head != "" && r.Head != i.Head {
		parent = r.Head
	}
	have := map[string]bool{}
	var list []ref
	err = both(ctx, func(ctx context.Context) (err error) {
		w.Commit, err = s.git(commitEnv...).Line(ctx, nil, "commit-tree", r.Tree, "-p", parent, "-m", "the work tree of the guest")
		return err
	}, func(ctx context.Context) (err error) {
		list, err = s.guestRefs(ctx)
		return err
	})
	if err != nil {
		return err
	}
	for _, ref := range list {
		have[ref.name] = true
	}
	var tx bytes.Buffer
	tx.WriteString("start\x00")
	fmt.Fprintf(&tx, "update %s\x00%s\x00\x00", refWork, w.Commit)
	w.Stashes = 0
	for _, ref := range r.Refs {
		if isStash(ref.Name) {
			w.Stashes++
		}
		name := refPrefix + strings.TrimPrefix(string(ref.Name), "refs/")
		delete(have, name)
		fmt.Fprintf(&tx, "update %s\x00%s\x00\x00", name, ref.ID)
	}
	for name := range have {
		if r.Anew { // the commits that came out before are all that there is of them
			if strings.HasPrefix(name, refStash) {
				w.Stashes++
			}
			continue
		}
		fmt.Fprintf(&tx, "delete %s\x00\x00", name)
	}
	tx.WriteString("prepare\x00commit\x00")
	if _, err := s.git().Run(ctx, &tx, "update-ref", "-z", "--stdin"); err != nil {
		return err
	}
	return s.count(ctx, i, w)
}

// count counts a work's commits and changed files.
func (s Store) count(ctx context.Context, i Info, w *Work) error {
	commits := append([]string{"rev-list", "--count"}, newCommits(i, *w)...)
	return both(ctx, func(ctx context.Context) error {
		return s.git().Names(ctx, nil, func([]byte) error { w.Files++; return nil },
			"diff-tree", "-r", "-z", "--name-only", "--no-renames", "--no-ext-diff", i.Base, w.Tree)
	}, func(ctx context.Context) error {
		n, err := s.git().Line(ctx, nil, commits...)
		if err != nil {
			return err
		}
		_, err = fmt.Sscan(n, &w.Commits)
		return err
	})
}

// newCommits are arguments of git rev-list: the guest's commits since the host's HEAD.
func newCommits(i Info, w Work) []string {
	args := []string{"--glob=" + refHead + "*"}
	if w.Head != "" {
		args = append(args, w.Head)
	}
	if i.Head != "" {
		args = append(args, "^"+i.Head)
	}
	return args
}

// ErrNoWork says that a store has no work yet.
var ErrNoWork = errors.New("nothing has come out of the workspace yet")
