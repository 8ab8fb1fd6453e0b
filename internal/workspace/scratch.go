package workspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"banger/internal/git"
	"banger/internal/lease"
)

// scratch is a repository of ours beside a user's: its objects are the user's as
// alternates, its refs are the user's to read, its configuration, index and work
// tree are its own. The work tree holds nothing but copies of .gitattributes,
// .gitignore and changed files.
type scratch struct {
	git.Git
	lease *lease.Lease
	dir   string   // the lease's: it holds all of it
	repo  string   // the git directory
	tree  string   // the work tree
	root  *os.Root // tree: a name in it may be as long as the system's longest
}

// newScratch makes one below parent. The caller closes it.
func newScratch(parent string, r *Repository) (_ *scratch, err error) {
	lease, err := NewLease(parent)
	if err != nil {
		return nil, err
	}
	s := &scratch{lease: lease, dir: lease.Dir, repo: filepath.Join(lease.Dir, "git"), tree: filepath.Join(lease.Dir, "tree")}
	s.Git = hostGit(s.repo, s.tree)
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	for _, d := range []string{s.tree, filepath.Join(s.repo, "objects", "info"), filepath.Join(s.repo, "objects", "pack"), filepath.Join(s.repo, "info")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	if s.root, err = os.OpenRoot(s.tree); err != nil {
		return nil, err
	}
	if err := s.begin(r); err != nil {
		return nil, err
	}
	exclude, err := r.excludes()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(s.repo, "info", "exclude"), exclude, 0o600); err != nil {
		return nil, err
	}
	text := scratchConfig(r)
	return s, os.WriteFile(filepath.Join(s.repo, "config"), []byte(text), 0o600)
}

// begin makes it a repository: with what is r's, or empty if r is plain.
func (s *scratch) begin(r *Repository) error {
	if !r.IsPlain() {
		return s.borrow(r)
	}
	if err := os.Mkdir(filepath.Join(s.repo, "refs"), 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.repo, "HEAD"), []byte("ref: refs/heads/main\n"), 0o600)
}

// Close removes it.
func (s *scratch) Close() {
	if s.root != nil {
		s.root.Close()
	}
	s.lease.Close()
}

// remake makes room at name in the work tree, with the directories that it needs.
func (s *scratch) remake(name string) error {
	s.root.Remove(name)
	if dir := filepath.Dir(name); dir != "." {
		return s.root.MkdirAll(dir, 0o700)
	}
	return nil
}

// put writes a file of the work tree anew.
func (s *scratch) put(name string, r io.Reader, mode fs.FileMode) error {
	if err := s.remake(name); err != nil {
		return err
	}
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// maxBorrowed bounds a file that is copied out of a user's git directory, in bytes: an
// index of ten million files has less.
const maxBorrowed = 2 << 30

// borrow brings in what of the user's repository the scratch one reads: by copy
// what is small, by name what is only read by its object ids.
func (s *scratch) borrow(r *Repository) error {
	alternate := git.Quote(filepath.Join(r.Common, "objects")) + "\n"
	if err := os.WriteFile(filepath.Join(s.repo, "objects", "info", "alternates"), []byte(alternate), 0o600); err != nil {
		return err
	}
	for _, name := range []string{"refs", "reftable"} {
		if fi, err := os.Stat(filepath.Join(r.Common, name)); err == nil && fi.IsDir() {
			if err := os.Symlink(filepath.Join(r.Common, name), filepath.Join(s.repo, name)); err != nil {
				return err
			}
		}
	}
	copyIn := func(name, dir string) error {
		from := filepath.Join(dir, name)
		if fi, err := os.Lstat(from); err == nil && fi.Size() > maxBorrowed {
			return fmt.Errorf("%q is larger than %d bytes", from, maxBorrowed)
		}
		return copyRegular(filepath.Join(s.repo, name), from)
	}
	for name, dir := range map[string]string{
		"HEAD": r.GitDir, "index": r.GitDir, "packed-refs": r.Common, "shallow": r.Common, "info/attributes": r.Common,
	} {
		if err := copyIn(name, dir); err != nil {
			return err
		}
	}
	// A split index names the file that holds the rest.
	entries, err := os.ReadDir(r.GitDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "sharedindex.") {
			if err := copyIn(e.Name(), r.GitDir); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkOut makes the scratch work tree and index those of a commit, with git's own
// conversions.
func (s *scratch) checkOut(ctx context.Context, commit string) error {
	if err := os.RemoveAll(filepath.Join(s.repo, "index")); err != nil {
		return err
	}
	if _, err := s.Run(ctx, nil, "read-tree", commit); err != nil {
		return err
	}
	_, err := s.Run(ctx, nil, "checkout-index", "-a", "-f", "-u", "-q")
	return err
}

// A meaning is a setting that says what a repository's content is, and that
// therefore travels: with the values that it can have, nil for any.
type meaning struct {
	key    string
	values []string
}

var (
	boolean  = []string{"true", "false", "yes", "no", "on", "off", "1", "0", valueless}
	meanings = []meaning{
		{"core.autocrlf", append([]string{"input"}, boolean...)},
		{"core.eol", []string{"lf", "crlf", "native"}},
		{"core.filemode", boolean},
		{"core.symlinks", boolean},
		{"core.ignorecase", boolean},
		{"core.precomposeunicode", boolean},
	}
)

// meant are the meanings that c sets, as settings of another configuration.
func meant(c config) (out config) {
	for _, m := range meanings {
		v, set := c.last(m.key)
		if !set || !slices.Contains(m.values, strings.ToLower(v)) {
			continue
		}
		if v == valueless {
			v = "true"
		}
		out = append(out, setting{key: m.key, value: v})
	}
	return out
}

// scratchConfig is the configuration of a repository of ours for r's objects.
func scratchConfig(r *Repository) string {
	var b strings.Builder
	writeFormat(&b, r.Hash)
	if v, _ := r.config.last("extensions.refstorage"); v == "reftable" {
		b.WriteString("[extensions]\n\trefStorage = reftable\n")
	}
	b.WriteString("[core]\n\tbare = false\n")
	writeSettings(&b, meant(r.all()))
	return b.String()
}

// writeFormat writes the settings that say how a repository is stored.
func writeFormat(b *strings.Builder, hash string) {
	b.WriteString("[core]\n\trepositoryformatversion = 1\n[extensions]\n\tobjectFormat = " + hash + "\n")
}

// writeSettings writes settings whose keys have no subsection.
func writeSettings(b *strings.Builder, c config) {
	for _, s := range c {
		section, name, _ := strings.Cut(s.key, ".")
		fmt.Fprintf(b, "[%s]\n\t%s = %s\n", section, name, quoteValue(s.value))
	}
}

// quoteValue quotes a value of a configuration file.
func quoteValue(v string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`, "\x00", "").Replace(v) + `"`
}
