package workspace

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"banger/internal/git"
	"banger/internal/lfs"
	"banger/internal/unpack"
	"banger/internal/workspace/wire"
)

// maxUnchanged bounds the list of a guest's unchanged files, in bytes.
const maxUnchanged = 256 << 20

// makeTree makes the tree of a guest without git, of the base and of the files that are
// not as they went in, and the report that a guest with git would have sent. Its history
// is as it was.
func (q *quarantine) makeTree(ctx context.Context, in io.Reader, i Info, r wire.Report, room Room) (wire.Report, error) {
	limit, err := room.forPack(0)
	if err != nil {
		return r, err
	}
	m := treeMaker{quarantine: q, sent: map[string]bool{}, unchanged: map[string]bool{}, tree: filepath.Join(q.dir, "tree"), left: limit}
	if err := m.begin(i); err != nil {
		return r, err
	}
	if err := m.receive(ctx, in); err != nil {
		return r, err
	}
	made := wire.Report{Nested: r.Nested, Head: i.Head, Branch: []byte(i.Branch), Stats: r.Stats}
	if i.Head != "" && i.Branch != "" {
		made.Refs = []wire.Ref{{Name: []byte(i.Branch), ID: i.Head}}
	}
	if made.Ignored, err = m.fill(ctx, i, r.Links); err != nil {
		return r, err
	}
	if made.Tree, err = m.git.Line(ctx, nil, "write-tree", "--missing-ok"); err != nil {
		return r, err
	}
	return made, m.pack(ctx, i, made.Tree)
}

// treeMaker makes a tree in a repository of ours in the quarantine, with the meanings of
// the user's, whose work tree holds the files that the guest sent.
type treeMaker struct {
	*quarantine
	git             git.Git
	tree            string
	sent, unchanged map[string]bool
	left            int64 // how many bytes may come in
}

func (m *treeMaker) begin(i Info) error {
	repo := filepath.Join(m.dir, "made")
	for _, d := range []string{m.tree, filepath.Join(repo, "objects"), filepath.Join(repo, "refs"), filepath.Join(repo, "info")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	var conf strings.Builder
	writeFormat(&conf, i.Hash)
	conf.WriteString("[core]\n\tbare = false\n" + i.Meanings)
	for name, text := range map[string]string{"HEAD": "ref: refs/heads/none\n", "config": conf.String(), "info/exclude": string(i.Excludes)} {
		if err := os.WriteFile(filepath.Join(repo, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	m.git = hostGit(repo, m.tree, m.environ(m.dir)...)
	m.git.Memory = guestMemory
	m.git.Env = append(m.git.Env, "GIT_INDEX_FILE="+filepath.Join(m.dir, "made.index"))
	return nil
}

// receive writes the files that the guest sends.
func (m *treeMaker) receive(ctx context.Context, in io.Reader) error {
	t := tar.NewReader(in)
	h, err := t.Next()
	if err != nil {
		return err
	}
	if h.Name != wire.PartUnchanged || h.Size > maxUnchanged {
		return fmt.Errorf("the stream begins with %.80q of %d bytes", h.Name, h.Size)
	}
	list := bufio.NewReader(t)
	for {
		name, err := list.ReadBytes(0)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if m.unchanged[string(name[:len(name)-1])] = true; len(m.unchanged) > maxEntries {
			return fmt.Errorf("it has more than %d paths", maxEntries)
		}
	}
	dir, err := unpack.Open(m.tree)
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if err := m.file(dir, t, h); err != nil {
			return err
		}
	}
}

func (m *treeMaker) file(dir *unpack.Dir, in io.Reader, h *tar.Header) error {
	name, found := strings.CutPrefix(h.Name, wire.PartTree)
	if !found {
		return fmt.Errorf("the stream has an entry %.200q", h.Name)
	}
	if why := badPath([]byte(name)); why != "" {
		return &NameError{[]byte(name), why}
	}
	// A name takes room too.
	if m.left -= h.Size + int64(len(name)); m.left < 0 {
		return ErrNoRoom
	}
	if m.sent[name] = true; len(m.sent) > maxEntries {
		return fmt.Errorf("it has more than %d paths", maxEntries)
	}
	var err error
	switch h.Typeflag {
	case tar.TypeSymlink:
		_, err = dir.Link(name, h.Linkname, h.ModTime)
	case tar.TypeReg:
		_, _, err = dir.File(unpack.File{Name: name, Perm: fs.FileMode(h.Mode)&0o111 | 0o600}, in)
	default:
		err = fmt.Errorf("the stream has an entry of type %q: %.200q", h.Typeflag, h.Name)
	}
	return err
}

// fill brings the index from the base to what the guest has. It returns the number of
// files that git ignores.
func (m *treeMaker) fill(ctx context.Context, i Info, links [][]byte) (ignored int, err error) {
	if _, err := m.git.Run(ctx, nil, "read-tree", i.Base); err != nil {
		return 0, err
	}
	here := map[string]bool{}
	for _, l := range links {
		here[string(l)] = true
	}
	base := map[string]bool{}
	var gone, rules bytes.Buffer
	err = m.git.Names(ctx, nil, func(line []byte) error {
		p, _ := treePath(line, "")
		name := string(p)
		base[name] = true
		switch {
		case bytes.HasPrefix(line, []byte("160000 ")):
			if !here[name] {
				gone.WriteString(name + "\x00")
			}
		case !m.unchanged[name] && !m.sent[name]:
			gone.WriteString(name + "\x00")
		case m.unchanged[name] && (path.Base(name) == ".gitignore" || path.Base(name) == ".gitattributes"):
			rules.WriteString(name + "\x00")
		}
		return nil
	}, "ls-tree", "-r", "-z", "--full-tree", i.Base)
	if err != nil {
		return 0, err
	}
	for _, do := range []struct {
		paths *bytes.Buffer
		args  []string
	}{
		{&rules, []string{"checkout-index", "-z", "--stdin"}},
		{&gone, []string{"update-index", "--force-remove", "-z", "--stdin"}},
	} {
		if do.paths.Len() > 0 {
			if _, err := m.git.Run(ctx, do.paths, do.args...); err != nil {
				return 0, err
			}
		}
	}
	var asked, added bytes.Buffer
	for name := range m.sent {
		if base[name] {
			added.WriteString(name + "\x00")
		} else {
			asked.WriteString(name + "\x00")
		}
	}
	if ignored, err = m.leaveOutIgnored(ctx, &asked, &added); err != nil || added.Len() == 0 {
		return ignored, err
	}
	if err := m.takeContents(ctx, strings.Split(strings.TrimSuffix(added.String(), "\x00"), "\x00")); err != nil {
		return ignored, err
	}
	_, err = m.git.Run(ctx, &added, "update-index", "--add", "--replace", "-z", "--stdin")
	return ignored, err
}

// takeContents puts pointers in the place of the LFS files among names. Their contents
// go into the store with the quarantine's objects.
func (m *treeMaker) takeContents(ctx context.Context, names []string) error {
	var large []string
	err := filtersOf(ctx, m.git, names, func(name, filter string) {
		if filter == lfsFilter {
			large = append(large, name)
		}
	})
	for _, name := range large {
		if err == nil {
			err = m.takeContent(filepath.Join(m.tree, name))
		}
	}
	return err
}

func (m *treeMaker) takeContent(at string) error {
	fi, err := os.Lstat(at)
	if err != nil || !fi.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(at)
	if err != nil {
		return err
	}
	defer f.Close()
	clean, o, is, err := cleanForm(f)
	if err != nil || !is {
		return err
	}
	to := filepath.Join(m.dir, lfs.ObjectPath(o.OID))
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), os.Rename(at, to)); err != nil {
		return err
	}
	m.contents[o] = true
	return writeNew(at, bytes.NewReader(clean), fi.Mode())
}

// leaveOutIgnored adds those of the asked paths to added that git does not ignore.
func (m *treeMaker) leaveOutIgnored(ctx context.Context, asked, added *bytes.Buffer) (ignored int, err error) {
	if asked.Len() == 0 {
		return 0, nil
	}
	names := strings.Split(strings.TrimSuffix(asked.String(), "\x00"), "\x00")
	out, err := m.git.Ignored(ctx, names)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if !out[name] {
			added.WriteString(name + "\x00")
		}
	}
	return len(out), nil
}

// pack makes a pack of the objects that are new: only packs are kept.
func (m *treeMaker) pack(ctx context.Context, i Info, tree string) error {
	want := strings.NewReader(tree + "\n--not\n" + i.Base + "\n" + i.Tree + "\n")
	_, err := m.git.Run(ctx, want, "pack-objects", "-q", "--revs", "--non-empty", "--delta-base-offset", filepath.Join(m.dir, "pack", "pack"))
	return err
}
