package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"banger/internal/git"
	"banger/internal/hint"
)

// refMove is the commit of an apply, and the branch that it is on.
type refMove struct {
	Ref  string `json:"ref"`            // full name; HEAD if that is detached
	From string `json:"from,omitempty"` // the commit before; "" on an unborn branch
	To   string `json:"to"`             // the commit

	who []string // git's environment for the reflog; never out of a journal
}

// check refuses what can't be of an apply: a journal is the repository's data.
func (c *refMove) check() error {
	if c.Ref != "HEAD" && !isBranch([]byte(c.Ref)) || !isHex(c.To) || c.From != "" && !isHex(c.From) {
		return fmt.Errorf("it says that %.80q moves from %.80q to %.80q", c.Ref, c.From, c.To)
	}
	return nil
}

// isHex reports whether id can be an object's.
func isHex(id string) bool {
	return (len(id) == 40 || len(id) == 64) && strings.Trim(id, "0123456789abcdef") == ""
}

// refState is where a branch is, as an apply that moves it sees it.
type refState int

const (
	refOther  refState = iota // elsewhere
	refOld                    // as before the apply, and HEAD still names it
	refNew                    // at the apply's commit, and HEAD still names it
	refBeyond                 // the apply's commit is in its history, or HEAD names another
)

// name is the branch in words.
func (c *refMove) name() string {
	if c.Ref == "HEAD" {
		return "the commit of the detached HEAD"
	}
	return fmt.Sprintf("the branch %q", strings.TrimPrefix(c.Ref, "refs/heads/"))
}

// look finds out where the branch is, with a scratch repository below dir.
func (c *refMove) look(ctx context.Context, r *Repository, dir string) (refState, error) {
	s, err := newScratch(dir, r)
	if err != nil {
		return refOther, err
	}
	defer s.Close()
	head := headRef(ctx, s.Git)
	at, _ := s.Line(ctx, nil, "rev-parse", "-q", "--verify", c.Ref+"^{commit}") // "" if it is nowhere
	switch {
	case ctx.Err() != nil:
		return refOther, ctx.Err()
	case head == c.Ref && at == c.From: // "" is an unborn branch
		return refOld, nil
	case at == c.To && head == c.Ref:
		return refNew, nil
	case at != "" && reaches(ctx, s.Git, at, c.To):
		return refBeyond, nil
	}
	return refOther, nil
}

// headRef is the full name of the branch that HEAD names; HEAD if it is detached.
func headRef(ctx context.Context, g git.Git) string {
	if name, err := g.Line(ctx, nil, "symbolic-ref", "-q", "HEAD"); err == nil {
		return name
	}
	return "HEAD"
}

// move moves the branch to the commit, unless it or HEAD has moved meanwhile.
func (c *refMove) move(ctx context.Context, r *Repository) error {
	now, err := readSmall(filepath.Join(r.GitDir, "HEAD"), maxPointer)
	if err != nil {
		return err
	}
	names, symbolic := strings.CutPrefix(strings.TrimSpace(string(now)), "ref: ")
	if !symbolic {
		names = "HEAD"
	}
	if names != c.Ref && !r.isReftable() {
		return fmt.Errorf("HEAD moved while the work was applied: it is %.80q, not %q", names, c.Ref)
	}
	return c.update(ctx, r, c.To, c.From, "commit: work of a VM")
}

// moveBack moves it back, if it still is at the commit.
func (c *refMove) moveBack(ctx context.Context, r *Repository, dir string) error {
	at, err := c.look(ctx, r, dir)
	if err != nil || at != refNew {
		return err
	}
	return c.update(ctx, r, c.From, c.To, "banger apply --undo")
}

// update moves the branch from one commit to another; "" is none.
func (c *refMove) update(ctx context.Context, r *Repository, to, from, why string) error {
	zero := strings.Repeat("0", len(c.To))
	var tx bytes.Buffer
	if c.Ref == "HEAD" {
		tx.WriteString("option no-deref\x00")
	}
	switch "" {
	case to:
		fmt.Fprintf(&tx, "delete %s\x00%s\x00", c.Ref, from)
	case from:
		fmt.Fprintf(&tx, "update %s\x00%s\x00%s\x00", c.Ref, to, zero)
	default:
		fmt.Fprintf(&tx, "update %s\x00%s\x00%s\x00", c.Ref, to, from)
	}
	who := c.who
	if who == nil {
		who = ownCommitter
	}
	// In the work tree's own git directory, whose HEAD it is.
	return updateRefsBy(ctx, r, hostGit(r.GitDir, "", who...), &tx, "-m", why)
}

func (r *Repository) isReftable() bool {
	v, _ := r.config.last("extensions.refstorage")
	return v == "reftable"
}

// ErrNoIdentity says that the user's git has no name or e-mail address to commit with.
var ErrNoIdentity = errors.New("git's configuration does not say who commits: user.name and user.email")

// identity is the environment that says who commits, as the user's configuration does.
func (r *Repository) identity() (env []string, err error) {
	all := r.all()
	for _, who := range []string{"author", "committer"} {
		for _, what := range []string{"name", "email"} {
			v, set := all.last(who + "." + what)
			if !set {
				v, _ = all.last("user." + what)
			}
			if strings.TrimSpace(v) == "" || v == valueless {
				return nil, hint.Add(ErrNoIdentity, `git config --global user.name "Your Name"; git config --global user.email you@example.org`)
			}
			env = append(env, "GIT_"+strings.ToUpper(who)+"_"+strings.ToUpper(what)+"="+v)
		}
	}
	return env, nil
}

// commitWork merges the work with HEAD's tree, which has no edit of the user's, and
// makes the commit in scratch: m.commit, which stays nil if HEAD has all of it. It
// returns in what the commit differs from HEAD. Private paths are left out.
func (m *Merge) commitWork(ctx context.Context, s Store, i Info, w Work, base, theirs string) ([]Change, error) {
	p := m.plan
	if what := p.Repo.underWay(); what != "" {
		return nil, hint.Add(fmt.Errorf("a %s is under way in %q: a commit would become part of it", what, p.Repo.Root), "end it with git first, or leave --commit out")
	}
	if p.Head == "" {
		if id, err := p.s.Line(ctx, nil, "rev-parse", "-q", "--verify", "HEAD"); err == nil {
			return nil, fmt.Errorf("the commit of HEAD is not in the repository: %s", id)
		}
	}
	ref := headRef(ctx, p.s.Git)
	if ref != "HEAD" && !isBranch([]byte(ref)) {
		return nil, fmt.Errorf("HEAD names %.200q, which is no branch", ref)
	}
	who, err := p.Repo.identity()
	if err != nil {
		return nil, err
	}
	if len(i.Private) > 0 {
		for _, tree := range []*string{&base, &theirs} {
			if *tree, err = treeWithout(ctx, p.s.Git, filepath.Join(p.s.dir, "without.index"), *tree, i.Private); err != nil {
				return nil, err
			}
		}
	}
	read := []string{"mktree"} // an empty one
	if p.Head != "" {
		read = []string{"rev-parse", p.Head + "^{tree}"}
	}
	head, err := p.s.Line(ctx, nil, read...)
	if err != nil {
		return nil, err
	}
	got, err := p.merge(ctx, base, head, theirs)
	if err != nil {
		return nil, fmt.Errorf("merge the work with HEAD: %w", err)
	}
	for _, k := range got.conflicts {
		m.HeadConflicts = append(m.HeadConflicts, k.path)
	}
	list, err := changes(ctx, p.s.Git, head, got.tree)
	if err != nil || len(list) == 0 || len(m.HeadConflicts) > 0 {
		return list, err
	}
	text := m.o.Message
	if text == "" {
		if text, err = s.message(ctx, i, w, m.o.Name); err != nil {
			return nil, err
		}
	}
	args := []string{"commit-tree", got.tree, "-F", "-"}
	if p.Head != "" {
		args = append(args, "-p", p.Head)
	}
	own := p.s.Git
	now := time.Now()
	date := fmt.Sprintf("DATE=@%d %s", now.Unix(), now.Format("-0700"))
	own.Env = append(slices.Concat(own.Env, who), "GIT_AUTHOR_"+date, "GIT_COMMITTER_"+date)
	id, err := own.Line(ctx, strings.NewReader(strings.TrimRight(text, "\n")+"\n"), args...)
	if err != nil {
		return nil, fmt.Errorf("make the commit: %w", err)
	}
	m.commit = &refMove{Ref: ref, From: p.Head, To: id, who: who}
	v, _ := p.Repo.all().last("commit.gpgsign")
	m.Unsigned = isTrue(v)
	return list, nil
}

// Bounds of a message that is made of what a guest wrote.
const (
	maxSubjects = 20
	maxSubject  = 200 // characters
)

// message is the message of a work's commit: it names the VM and the guest's commits.
func (s Store) message(ctx context.Context, i Info, w Work, name string) (string, error) {
	text := "Work of VM " + name + "\n"
	if w.Commits == 0 || w.Head == "" {
		return text, nil
	}
	args := []string{"log", "--no-show-signature", "--no-color", "--reverse", "-z", "--format=tformat:%s", w.Head}
	if i.Head != "" {
		args = append(args, "^"+i.Head)
	}
	n := 0
	err := s.git().Names(ctx, nil, func(subject []byte) error {
		if n++; n == 1 { // they may all be on other branches
			text += "\nCommits in the VM:\n"
		}
		if n <= maxSubjects {
			text += "* " + plainLine(string(subject)) + "\n"
		}
		return nil
	}, args...)
	if more := n - maxSubjects; more > 0 {
		text += fmt.Sprintf("* and %d more\n", more)
	}
	return text, err
}

// plainLine is a line of a guest's without control characters, and bounded.
func plainLine(line string) string {
	out := []rune(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(line, "?")))
	return string(out[:min(len(out), maxSubject)])
}

// refusePrivate refuses to stage or commit what has the content of an ignored file that
// went in: no object of it gets into the user's repository.
func (s Store) refusePrivate(ctx context.Context, i Info, w Work, list []Change) error {
	private, ids, err := s.private(ctx, i, i.Tree, w.Tree)
	if err != nil {
		return err
	}
	for _, c := range list {
		if name := ids[c.newID]; name != "" && !private[string(c.Path)] {
			return hint.Add(fmt.Errorf("%q has the content of %q, an ignored file that went in: it is not staged or committed", c.Path, name),
				"leave --index and --commit out, or choose other paths")
		}
	}
	return nil
}

// giveStaged brings the objects that the index and the commit to be name into the
// user's repository, and the contents of LFS files among them.
func (m *Merge) giveStaged(ctx context.Context) error {
	if m.staged == nil {
		return nil
	}
	var want bytes.Buffer
	for _, id := range m.staged.give {
		want.WriteString(id + "\n")
	}
	if m.commit != nil {
		want.WriteString(m.commit.To + "\n")
	}
	if want.Len() == 0 {
		return nil
	}
	if err := m.store.giveContents(ctx, m.plan.Repo, m.plan.s.Git, slices.Concat(m.staged.give, m.adds)); err != nil {
		return fmt.Errorf("bring the contents of LFS files into %q: %w", m.plan.Repo.Root, err)
	}
	if m.plan.Head != "" {
		want.WriteString("^" + m.plan.Head + "\n")
	}
	return takePack(ctx, m.plan.Repo, m.plan.s.Git, "", func(out io.Writer) error {
		return m.plan.s.Stream(ctx, &want, out, "pack-objects", "--revs", "--stdout", "--delta-base-offset", "-q")
	})
}
