package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"banger/internal/hint"
)

// Limits of what is read of a user's git directory, in bytes.
const (
	maxPointer = 16 << 10 // HEAD, a .git file, commondir, gitdir
	maxConfig  = 1 << 20
)

// Repository is a user's repository, found and read as data: no git has run in it.
type Repository struct {
	Root   string // the work tree, absolute, without links
	GitDir string // of this work tree
	Common string // what all its work trees share: objects, refs, config
	Hash   string // object format: "sha1" or "sha256"
	// named is the work tree as the user named it, with links; "" if they named a
	// directory below it.
	named string

	config config // the repository's own
	user   config // what the user's git has everywhere
}

// Open finds the repository that path is in. gitDir names the git directory of a
// repository whose git directory does not point back at its work tree (git init
// --separate-git-dir); "" is any other.
func Open(ctx context.Context, path, gitDir string) (*Repository, error) {
	named, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	abs, err := filepath.EvalSymlinks(named)
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return nil, fmt.Errorf("open the repository %q: %w", path, pe.Err)
	} else if err != nil {
		return nil, err
	}
	fi, err := os.Stat(abs)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return nil, fmt.Errorf("%q is not a directory", path)
	}
	if isGitDir(abs) {
		return nil, hint.Add(fmt.Errorf("%q is a bare repository or a git directory: it has no work tree", path),
			"name a work tree: git worktree add makes one")
	}
	for dir := abs; ; dir = filepath.Dir(dir) {
		fi, err := os.Lstat(filepath.Join(dir, dotGit))
		if err == nil {
			r := &Repository{Root: dir}
			if dir == abs {
				r.named = named
			}
			if err := r.find(ctx, fi, gitDir); err != nil {
				return nil, err
			}
			if err := errors.Join(r.refuseLinks(), r.refuseDevices()); err != nil {
				return nil, err
			}
			return r, r.read(ctx)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if dir == filepath.Dir(dir) {
			return nil, hint.Add(fmt.Errorf("open %q: %w", path, ErrNoRepository), "git init makes one; --mode full takes a directory that is none")
		}
	}
}

// OpenPlain takes a directory that is in no repository for one without a commit. The
// root of the file system, the user's home, and what is above it, are refused.
func OpenPlain(ctx context.Context, path string) (*Repository, error) {
	abs, err := filepath.Abs(path)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return nil, err
	}
	if fi, err := os.Stat(abs); err != nil {
		return nil, err
	} else if !fi.IsDir() {
		return nil, fmt.Errorf("%q is not a directory", path)
	}
	if IsTooMuch(abs) {
		return nil, fmt.Errorf("%q is the home directory, or holds it: it never goes in as a whole", abs)
	}
	r := &Repository{Root: abs, Hash: "sha1"}
	if r.user, err = userConfig(ctx, nil); err != nil {
		return nil, fmt.Errorf("read the configuration of git: %w", withHint(err))
	}
	return r, nil
}

// IsTooMuch reports whether a directory is the user's home or holds it. dir has no
// links in it.
func IsTooMuch(dir string) bool {
	home, err := os.UserHomeDir()
	if err == nil {
		home, err = filepath.EvalSymlinks(home)
	}
	if err != nil {
		return dir == "/"
	}
	rel, err := filepath.Rel(dir, home)
	return dir == "/" || err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// IsPlain reports whether it is a directory without a repository.
func (r *Repository) IsPlain() bool { return r.GitDir == "" }

const dotGit = ".git"

// ErrNoRepository says that a path is in no repository.
var ErrNoRepository = errors.New("it is in no git repository")

// isGitDir reports whether dir looks as git's own directories do.
func isGitDir(dir string) bool {
	for _, name := range []string{"HEAD", "objects", "refs"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// find sets the git directory that .git, which is fi, stands for.
func (r *Repository) find(ctx context.Context, fi fs.FileInfo, gitDir string) error {
	at := filepath.Join(r.Root, dotGit)
	switch {
	case fi.IsDir():
		r.GitDir, r.Common = at, at
		return nil
	case !fi.Mode().IsRegular():
		return fmt.Errorf("%q is %v: only a directory or a file can be a repository's .git", at, fi.Mode().Type())
	}
	target, err := readPointer(at, "gitdir: ")
	if err != nil {
		return err
	}
	if target == "" {
		return fmt.Errorf("%q does not say where the git directory is", at)
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(r.Root, target)
	}
	if target, err = filepath.EvalSymlinks(target); err != nil {
		return fmt.Errorf("the git directory that %q names: %w", at, err)
	}
	r.GitDir, r.Common = target, target
	common, err := readPointer(filepath.Join(target, "commondir"), "")
	if err != nil {
		return err
	}
	if common == "" {
		return r.checkPointsBack(ctx, at, gitDir)
	}
	// A linked worktree: its directory names the .git file.
	back, err := readPointer(filepath.Join(target, "gitdir"), "")
	if err != nil {
		return err
	}
	if back != "" && !filepath.IsAbs(back) {
		back = filepath.Join(target, back)
	}
	if !sameFile(back, at) {
		return hint.Add(fmt.Errorf("%q names the git directory %q, which is another work tree's", at, target), "git worktree repair mends a work tree that was moved")
	}
	if !filepath.IsAbs(common) {
		common = filepath.Join(target, common)
	}
	r.Common, err = filepath.EvalSymlinks(common)
	return err
}

// refuseLinks refuses a git directory whose refs, logs or settings are another's: by a link
// it would bring another repository's commits in, or have git write elsewhere.
func (r *Repository) refuseLinks() error {
	refuse := func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.Type()&fs.ModeSymlink != 0:
			return fmt.Errorf("%q is a symbolic link: it may lead to another repository's", path)
		case !d.IsDir() && !d.Type().IsRegular():
			return notRegular(path)
		}
		return nil
	}
	dirs := []string{filepath.Join(r.Common, "refs"), filepath.Join(r.Common, "reftable"), filepath.Join(r.Common, "logs")}
	if r.GitDir != r.Common {
		dirs = append(dirs, filepath.Join(r.GitDir, "logs"))
	}
	for _, dir := range dirs {
		if err := filepath.WalkDir(dir, refuse); err != nil {
			return err
		}
	}
	info := filepath.Join(r.Common, "info")
	fi, err := os.Lstat(info)
	if err != nil {
		return refuse(info, nil, err)
	}
	return refuse(info, fs.FileInfoToDirEntry(fi), nil)
}

// checkPointsBack refuses a git directory elsewhere that does not name this work
// tree, unless the user names it.
func (r *Repository) checkPointsBack(ctx context.Context, at, gitDir string) error {
	if gitDir != "" && sameFile(gitDir, r.GitDir) {
		return nil
	}
	c, err := readConfig(ctx, filepath.Join(r.GitDir, "config"))
	if err != nil {
		return err
	}
	if w, set := c.last("core.worktree"); set && r.isRoot(w) {
		return nil // a submodule's
	}
	return hint.Add(fmt.Errorf("%q names the git directory %q, which does not name this work tree: it may be another repository's", at, r.GitDir),
		fmt.Sprintf("if it is this repository's: --git-dir %s", r.GitDir))
}

// operations are what git leaves in a git directory for as long as an operation lasts.
var operations = []struct{ file, name string }{
	{"MERGE_HEAD", "merge"}, {"rebase-merge", "rebase"}, {"rebase-apply", "rebase"}, {"CHERRY_PICK_HEAD", "cherry-pick"},
	{"REVERT_HEAD", "revert"}, {"BISECT_LOG", "bisect"},
}

// underWay is the operation that has not ended; "" if there is none.
func (r *Repository) underWay() string {
	for _, o := range operations {
		if _, err := os.Lstat(filepath.Join(r.GitDir, o.file)); err == nil {
			return o.name
		}
	}
	return ""
}

// all is the configuration that the user's git has in the repository.
func (r *Repository) all() config { return append(slices.Clone(r.user), r.config...) }

// isRoot reports whether a core.worktree is this work tree.
func (r *Repository) isRoot(worktree string) bool {
	if !filepath.IsAbs(worktree) {
		worktree = filepath.Join(r.GitDir, worktree)
	}
	return sameFile(worktree, r.Root)
}

func sameFile(a, b string) bool {
	fa, err := os.Stat(a)
	if err != nil {
		return false
	}
	fb, err := os.Stat(b)
	return err == nil && os.SameFile(fa, fb)
}

// read reads the repository's configuration, and refuses what it can't be.
func (r *Repository) read(ctx context.Context) (err error) {
	if r.config, err = readConfig(ctx, filepath.Join(r.Common, "config")); err != nil {
		return err
	}
	if v, _ := r.config.last("extensions.worktreeconfig"); isTrue(v) {
		own, err := readConfig(ctx, filepath.Join(r.GitDir, "config.worktree"))
		if err != nil {
			return err
		}
		r.config = append(r.config, own...)
	}
	if r.user, err = userConfig(ctx, r); err != nil {
		return fmt.Errorf("read the configuration of git: %w", withHint(err))
	}
	if w, set := r.config.last("core.worktree"); set && !r.isRoot(w) {
		return fmt.Errorf("the repository %q has its work tree elsewhere (core.worktree is %q)", r.Root, w)
	}
	if r.Hash, _ = r.config.last("extensions.objectformat"); r.Hash == "" {
		r.Hash = "sha1"
	}
	if r.Hash != "sha1" && r.Hash != "sha256" {
		return fmt.Errorf("the repository %q has the object format %.20q: banger knows sha1 and sha256", r.Root, r.Hash)
	}
	if v, _ := r.config.last("core.bare"); isTrue(v) && r.GitDir == r.Common {
		return fmt.Errorf("the repository %q is bare (core.bare)", r.Root)
	}
	return nil
}

// readPointer reads a file of one line that names a path; a file that is not there
// is "".
func readPointer(path, prefix string) (string, error) {
	text, err := readSmall(path, maxPointer)
	if err != nil {
		return "", err
	}
	line := strings.TrimRight(string(text), "\r\n")
	if line == "" {
		return "", nil
	}
	target, found := strings.CutPrefix(line, prefix)
	if !found || strings.ContainsAny(target, "\x00\n") {
		return "", fmt.Errorf("%q is not what git writes there", path)
	}
	return target, nil
}

// config is a configuration's settings in their order.
type config []setting

type setting struct {
	key, value string
	origin     string // the file that it is in; "" if that is not known
}

// last is the value that counts: that of the last setting. Keys are in lower
// case.
func (c config) last(key string) (value string, set bool) {
	for _, s := range c {
		if s.key == key {
			value, set = s.value, true
		}
	}
	return value, set
}

func isTrue(v string) bool {
	switch strings.ToLower(v) {
	case "true", "yes", "on", "1", valueless:
		return true
	}
	return false
}

// valueless is the value of a key without "=", which is true.
const valueless = "\x00"

// readConfig reads a configuration file alone, without what it includes. It is
// copied first: git opens a FIFO.
func readConfig(ctx context.Context, path string) (config, error) {
	text, err := readSmall(path, maxConfig)
	if err != nil || len(text) == 0 {
		return nil, err
	}
	return parseConfig(ctx, path, text)
}

func parseConfig(ctx context.Context, path string, text []byte) (config, error) {
	g := hostGit(os.DevNull, "")
	g.Dir = "/"
	c, err := listConfig(ctx, g, bytes.NewReader(text), "--file", "-", "--no-includes")
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", path, withHint(err))
	}
	return c, nil
}
