package workspace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"banger/internal/durable"
	"banger/internal/git"
)

// Store is what banger keeps of one workspace: a bare repository with the base and
// with all that the guest reported. It needs nothing of the user's repository, nor
// of the VM. A Store is a value; its methods may run in several processes, but one
// Import at a time.
type Store struct {
	Dir string // absolute
}

// Names in a store.
const (
	storeGit  = "git"
	storeFile = "workspace.json"
	workFile  = "work.json"
)

// Refs of a store's repository.
const (
	refBase   = "refs/banger/base"
	refWork   = "refs/banger/work"
	refPrefix = "refs/banger/"
	refHead   = refPrefix + "heads/" // and the branch's name
	refStash  = refPrefix + "stash/" // and the entry's number
)

// endingKeep is git's own mark of a pack that is not to be removed: here the base's.
const endingKeep = ".keep"

// InfoFormat is the version of Info's JSON.
const InfoFormat = 1

// Owner is the VM that a workspace is in, as it was called when it went in.
type Owner struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	GuestPath string `json:"guest_path"` // absolute
}

// Info is a store's own description.
type Info struct {
	Format     int    `json:"format"`
	VM         Owner  `json:"vm"`
	Repository string `json:"repository"` // the user's work tree
	Hash       string `json:"hash"`
	Head       string `json:"head,omitempty"`
	Subject    string `json:"subject,omitempty"`
	Branch     string `json:"branch,omitempty"`
	Base       string `json:"base"`
	Tree       string `json:"tree"` // Base's
	Changed    int    `json:"changed"`
	// Meanings are the settings that say what files mean, as lines of a configuration, and
	// Excludes what the user ignores everywhere: for a guest without git, whose tree is
	// made here.
	Meanings string `json:"meanings,omitempty"`
	Excludes []byte `json:"excludes,omitempty"`
	// Private are the ignored files that went in.
	Private [][]byte `json:"private,omitempty"`
	// Submodules are the paths of those that went in, each as a workspace of its own. At
	// is where in the outermost of them this one is; "" if it is that.
	Submodules [][]byte  `json:"submodules,omitempty"`
	At         string    `json:"at,omitempty"`
	MadeAt     time.Time `json:"made_at"`
}

// NewStore makes the store of a plan's workspace in dir, which is not there yet.
func NewStore(ctx context.Context, dir string, p *Plan, owner Owner) (Store, error) {
	s := Store{dir}
	pack, err := p.Pack(ctx)
	if err != nil {
		return s, err
	}
	repo := s.repo()
	if err := s.makeRepo(); err != nil {
		return s, err
	}
	var conf strings.Builder
	writeFormat(&conf, p.Repo.Hash)
	conf.WriteString("[core]\n\tbare = true\n")
	files := map[string]string{"config": conf.String(), "HEAD": "ref: refs/heads/none\n"}
	if p.Head != "" {
		files["shallow"] = p.Head + "\n"
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(repo, name), []byte(text), 0o600); err != nil {
			return s, err
		}
	}
	base := filepath.Join(repo, "objects", "pack", filepath.Base(pack))
	for _, ending := range []string{".pack", ".idx"} { // the index makes the pack visible
		if err := linkOrCopy(base+ending, pack+ending); err != nil {
			return s, err
		}
	}
	if err := os.WriteFile(base+endingKeep, nil, 0o600); err != nil {
		return s, err
	}
	if _, err := s.git().Run(ctx, nil, "update-ref", refBase, p.Base); err != nil {
		return s, err
	}
	if err := s.noteOwn(ctx, p); err != nil {
		return s, err
	}
	excludes, err := p.Repo.excludes()
	if err != nil {
		return s, err
	}
	var meanings strings.Builder
	writeSettings(&meanings, meant(p.Repo.all()))
	return s, s.write(storeFile, Info{
		Format: InfoFormat, VM: owner, Repository: p.Repo.Root, Hash: p.Repo.Hash, Head: p.Head, Subject: p.Subject,
		Branch: p.Branch, Base: p.Base, Tree: p.Tree, Changed: p.Changed, Meanings: meanings.String(), Excludes: excludes, Private: p.Private, Submodules: p.submodulePaths(), At: p.At, MadeAt: time.Now().UTC(),
	})
}

// makeRepo makes the directories of the store's repository.
func (s Store) makeRepo() error {
	for _, d := range []string{"objects/info", "objects/pack", "refs/heads", "info"} {
		if err := os.MkdirAll(filepath.Join(s.repo(), d), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// ownFile lists the base's own files with settings of git's, by their objects' ids: the
// check of what a guest sends says nothing of those, though git would not clone them.
const ownFile = "own-settings"

// strict has git index-pack look at objects as git fsck does, but for the base's own.
func (s Store) strict() string {
	own := filepath.Join(s.Dir, ownFile)
	if _, err := os.Lstat(own); err != nil {
		return "--strict"
	}
	return "--strict=skiplist=" + own // as fetch.fsck.skipList does (git-config(1))
}

// noteOwn writes ownFile, if there is anything to write.
func (s Store) noteOwn(ctx context.Context, p *Plan) error {
	args := []string{"ls-tree", "-r", "-z", "--full-tree", p.Base, "--"}
	none := len(args)
	for _, f := range p.Files {
		if name := path.Base(string(f.Path)); name == ".gitattributes" || name == ".gitmodules" {
			args = append(args, ":(top,literal)"+string(f.Path))
		}
	}
	if len(args) == none {
		return nil
	}
	var ids strings.Builder
	err := s.git().Names(ctx, nil, func(line []byte) error {
		e, _, _ := bytes.Cut(line, []byte("\t"))
		if f := bytes.Fields(e); len(f) == 3 {
			ids.WriteString(string(f[2]) + "\n")
		}
		return nil
	}, args...)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.Dir, ownFile), []byte(ids.String()), 0o600)
}

func linkOrCopy(to, from string) error {
	if err := os.Link(from, to); err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	}
	return copyRegular(to, from)
}

// id is the name that it has among the stores.
func (s Store) id() string { return filepath.Base(s.Dir) }

func (s Store) repo() string { return filepath.Join(s.Dir, storeGit) }

// git runs in the store's repository. What it writes is on the disk when it ends, refs and
// single objects too: then the work is called saved, and its VM may go.
func (s Store) git(env ...string) git.Git {
	g := hostGit(s.repo(), "", env...)
	g.Settings = append(slices.Clone(g.Settings), "core.fsync=all")
	g.Memory = guestMemory
	return g
}

func (s Store) write(name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return durable.Replace(filepath.Join(s.Dir, name), append(text, '\n'))
}

// Work reads the last work that was imported; ErrNoWork says that there is none.
func (s Store) Work() (w Work, err error) {
	text, err := readSmall(filepath.Join(s.Dir, workFile), maxConfig)
	if err != nil {
		return w, err
	}
	if len(text) == 0 {
		return w, ErrNoWork
	}
	if err := json.Unmarshal(text, &w); err != nil {
		return w, fmt.Errorf("read the store %q: %w", s.Dir, err)
	}
	return w, nil
}

// Info reads the store's description.
func (s Store) Info() (i Info, err error) {
	text, err := readSmall(filepath.Join(s.Dir, storeFile), maxConfig)
	if err != nil {
		return i, err
	}
	if len(text) == 0 {
		return i, fmt.Errorf("%q is no workspace's store", s.Dir)
	}
	if err := json.Unmarshal(text, &i); err != nil {
		return i, fmt.Errorf("read the store %q: %w", s.Dir, err)
	}
	if i.Format != InfoFormat {
		return i, fmt.Errorf("the store %q has the format %d: this banger knows %d", s.Dir, i.Format, InfoFormat)
	}
	return i, nil
}
