package workspace

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/lfs"
	"banger/internal/workspace/wire"
)

// SendOptions say how a plan goes into a guest.
type SendOptions struct {
	Path  []byte // in the guest, absolute or relative to root's home
	Force bool   // replaces what is there
	// Known are the workspaces at Path, and below it, which the copy replaces if the
	// guest has of them what the host has.
	Known []wire.Known
	// Progress hears how many files and bytes of them have been sent; nil for nobody.
	Progress func(files int, bytes int64)
}

// Pack writes the objects that the guest's repository begins with into the scratch
// repository, and returns the pack's path without its ending. A second call returns
// the same.
func (p *Plan) Pack(ctx context.Context) (string, error) {
	if p.pack != "" {
		return p.pack, nil
	}
	ids, err := p.objects(ctx)
	if err != nil {
		return "", err
	}
	prefix := filepath.Join(p.s.dir, "pack")
	name, err := p.s.Line(ctx, ids, "pack-objects", "-q", "--delta-base-offset", prefix)
	if err != nil {
		return "", fmt.Errorf("pack the repository %q: %w", p.Repo.Root, err)
	}
	p.pack = prefix + "-" + name
	return p.pack, nil
}

// Send writes the stream that makes the workspace in a guest. A file that is
// another one than the plan saw is a ChangedError: then a new plan is needed, and
// the guest keeps nothing of this one.
func (p *Plan) Send(ctx context.Context, out io.Writer, o SendOptions) error {
	pack, err := p.Pack(ctx)
	if err != nil {
		return err
	}
	// A frame of the session for each header would cost the guest more than the files.
	b := bufio.NewWriterSize(out, 256<<10)
	s := &sender{Plan: p, w: tar.NewWriter(b), buf: make([]byte, 1<<20), progress: o.Progress}
	header, err := json.Marshal(wire.Header{Path: o.Path, Force: o.Force, Known: len(o.Known) > 0, Hash: p.Repo.Hash})
	if err != nil {
		return err
	}
	if err := s.text(wire.PartHeader, header); err != nil {
		return err
	}
	if len(o.Known) > 0 {
		var lines bytes.Buffer
		for _, k := range o.Known {
			if err := wire.WriteJSON(&lines, k); err != nil {
				return err
			}
		}
		if err := s.text(wire.PartKnown, lines.Bytes()); err != nil {
			return err
		}
	}
	if err := s.gitDir(pack); err != nil {
		return err
	}
	if err := s.submodules(); err != nil {
		return err
	}
	for _, f := range p.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.file(f); err != nil {
			return err
		}
	}
	if err := s.objects(); err != nil {
		return err
	}
	var index bytes.Buffer
	if err := wire.WriteEntries(&index, p.sent()); err != nil {
		return err
	}
	if err := s.text(wire.PartIndex, index.Bytes()); err != nil {
		return err
	}
	return errors.Join(s.w.Close(), b.Flush())
}

// sent are the entries of the guest's index.
func (p *Plan) sent() []wire.Entry {
	entries := make([]wire.Entry, len(p.entries))
	for i, e := range p.entries {
		entries[i] = e.Entry
		if p.same[string(e.Path)] {
			entries[i].Bits |= wire.Same
		}
	}
	return entries
}

type sender struct {
	*Plan
	w        *tar.Writer
	buf      []byte
	progress func(int, int64)
	count    int
	bytes    int64
}

func (s *sender) text(name string, text []byte) error {
	if err := s.w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(text)), Mode: 0o644}); err != nil {
		return err
	}
	_, err := s.w.Write(text)
	return err
}

// gitDir sends the guest's git directory but for its index.
func (s *sender) gitDir(pack string) error {
	for _, dir := range []string{"refs/heads", "refs/tags", "objects/info", "objects/pack", "info"} {
		if err := s.w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: wire.PartGit + dir, Mode: 0o755}); err != nil {
			return err
		}
	}
	head := s.Head + "\n"
	if s.Branch != "" {
		head = "ref: " + s.Branch + "\n"
	}
	texts := [][2]string{{"HEAD", head}, {"config", s.guestConfig()}, {wire.CopyFile, s.id + "\n"}}
	if !s.partial { // else the host may lack what the base reaches
		base, err := json.Marshal(wire.Base{Base: s.Base, Tree: s.Tree, Head: s.Head})
		if err != nil {
			return err
		}
		texts = append(texts, [2]string{wire.BaseFile, string(base) + "\n"})
	}
	if s.Head != "" {
		texts = append(texts, [2]string{"shallow", s.Head + "\n"})
		if s.Branch != "" {
			texts = append(texts, [2]string{"packed-refs", "# pack-refs with: peeled fully-peeled sorted \n" + s.Head + " " + s.Branch + "\n"})
		}
	}
	exclude, err := s.Repo.excludes()
	if err != nil {
		return err
	}
	if len(exclude) > 0 {
		texts = append(texts, [2]string{"info/exclude", string(exclude)})
	}
	if attributes, err := readSmall(filepath.Join(s.s.repo, "info", "attributes"), maxConfig); err != nil {
		return err
	} else if len(attributes) > 0 {
		texts = append(texts, [2]string{"info/attributes", string(attributes)})
	}
	for _, t := range texts {
		if err := s.text(wire.PartGit+t[0], []byte(t[1])); err != nil {
			return err
		}
	}
	if s.partial {
		if err := s.text(wire.PartGit+"objects/pack/"+filepath.Base(pack)+".promisor", nil); err != nil {
			return err
		}
	}
	// The base is on no branch: without this, git gc would remove it some day.
	if err := s.text(wire.PartGit+"objects/pack/"+filepath.Base(pack)+".keep", nil); err != nil {
		return err
	}
	for _, ending := range []string{".pack", ".idx"} {
		name := wire.PartGit + "objects/pack/" + filepath.Base(pack) + ending
		if err := s.own(pack+ending, name); err != nil {
			return err
		}
	}
	return nil
}

// submodules sends the empty directories that submodules are in their repository.
func (s *sender) submodules() error {
	for _, e := range s.entries {
		if e.Mode != modeGitlink {
			continue
		}
		if st, err := s.files.stat(string(e.Path)); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		if err := s.w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: wire.PartTree + string(e.Path), Mode: 0o755}); err != nil {
			return err
		}
	}
	return nil
}

// own sends a file of ours.
func (s *sender) own(path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if err := s.w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: fi.Size(), Mode: 0o444}); err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{s.w}, f, s.buf)
	return err
}

// file sends a file of the user's work tree.
func (s *sender) file(f File) error {
	h := &tar.Header{Name: wire.PartTree + string(f.Path), ModTime: time.Unix(int64(f.stat.mtime), 0), Mode: int64(f.Mode & 0o777)}
	if f.Mode == modeLink {
		target, st, err := s.files.link(string(f.Path))
		if err != nil || !f.stat.matches(st) {
			return s.overtaken(f, err)
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
		err = s.w.WriteHeader(h)
		s.say(0)
		return err
	}
	in, st, err := s.files.file(string(f.Path))
	if err != nil {
		return s.overtaken(f, err)
	}
	defer in.Close()
	if !f.stat.matches(st) {
		return s.overtaken(f, nil)
	}
	h.Typeflag, h.Size, h.Mode = tar.TypeReg, st.Size, int64(st.Mode&0o777)
	if err := s.w.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{s.w}, io.LimitReader(in, st.Size), s.buf)
	if err != nil {
		return fmt.Errorf("send %q: %w", f.Path, err)
	}
	var after unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &after); err != nil || n != st.Size || !f.stat.matches(after) {
		return s.overtaken(f, err)
	}
	s.say(n)
	return nil
}

// objects names the files that hold what git's filter in the guest looks for when it
// makes a file of a pointer.
func (s *sender) objects() error {
	sent := map[string]bool{}
	for _, f := range s.Files {
		o, found := s.content[string(f.Path)]
		if !found || sent[o.OID] {
			continue
		}
		sent[o.OID] = true
		h := &tar.Header{Typeflag: tar.TypeLink, Name: wire.PartGit + lfs.ObjectPath(o.OID), Linkname: wire.PartTree + string(f.Path)}
		if err := s.w.WriteHeader(h); err != nil {
			return err
		}
	}
	return nil
}

func (s *sender) say(n int64) {
	s.count++
	s.bytes += n
	if s.progress != nil {
		s.progress(s.count, s.bytes)
	}
}

// overtaken is the error of a file that is not as the plan saw it.
func (s *sender) overtaken(f File, err error) error {
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read %q: %w", f.Path, err)
	}
	return &ChangedError{f.Path}
}
