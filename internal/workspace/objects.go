package workspace

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/git"
	"banger/internal/lease"
	"banger/internal/lfs"
	"banger/internal/workspace/wire"
)

// Limits of what a guest may send of LFS contents at one save.
var (
	maxObjects = 50_000
	// maxObjectBytes bounds them all together.
	maxObjectBytes = int64(16 << 30)
)

// newPointers passes on the pointers that are reached from args and not from without,
// each with the name of a file that held it; a name with a newline is cut there.
func (s Store) newPointers(ctx context.Context, without string, args []string, each func(b blob, o lfs.Pointer) error) error {
	args = append([]string{"rev-list", "--objects", "--missing=allow-any", fmt.Sprintf("--filter=blob:limit=%d", lfs.MaxPointer+1), "--filter=object:type=blob"}, args...)
	if without != "" {
		args = append(args, "^"+without)
	}
	ids, out := io.Pipe()
	go func() { // ends when ids is read or closed
		out.CloseWithError(s.git().Stream(ctx, nil, out, args...))
	}()
	err := readBlobs(ctx, s.git(), ids, func(b blob) error {
		if o, is := lfs.Parse(b.text); is {
			return each(b, o)
		}
		return nil
	})
	ids.CloseWithError(err)
	return err
}

// Wanted lists the LFS contents that the work names, beyond the base and HEAD, and that
// the store lacks. An edit of the user's that the guest has committed is among them:
// the user's repository need not have its content.
func (s Store) Wanted(ctx context.Context, w Work) (list []wire.Object, err error) {
	if !w.Changed() {
		return nil, nil
	}
	i, err := s.Info()
	if err != nil {
		return nil, err
	}
	seen := map[lfs.Pointer]bool{}
	blobs := map[string]int{} // and which of list they are
	err = s.newPointers(ctx, i.Base, []string{w.Commit, "--glob=" + refHead + "*", "--glob=" + refStash + "*"}, func(b blob, o lfs.Pointer) error {
		if seen[o] || s.has(o) {
			return nil
		}
		if len(list) == maxObjects {
			return fmt.Errorf("it names more than %d new LFS files", maxObjects)
		}
		seen[o], blobs[b.id] = true, len(list)
		list = append(list, wire.Object{OID: o.OID, Size: o.Size, Path: []byte(b.name)})
		return nil
	})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	// The exact paths, of those that the tree has.
	for n := range list {
		if !validPath(list[n].Path) {
			list[n].Path = nil
		}
	}
	var id string
	err = s.git().Names(ctx, nil, func(field []byte) error {
		if f := strings.Fields(string(field)); len(f) == 5 && strings.HasPrefix(f[0], ":") && id == "" {
			id = f[3]
			return nil
		}
		if n, found := blobs[id]; found {
			list[n].Path = field
		}
		id = ""
		return nil
	}, "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", i.Tree, w.Tree)
	return list, err
}

func validPath(name []byte) bool { return badPath(name) == "" }

// otherObjects is a link to the lfs directory of the store that this one is beside.
const otherObjects = "lfs/other"

// objectFile is where the store keeps a content.
func (s Store) objectFile(o lfs.Pointer) string { return filepath.Join(s.Dir, lfs.ObjectPath(o.OID)) }

// findObject is where the content is that the store has, or the one that it is beside;
// os.ErrNotExist says that neither has it.
func (s Store) findObject(o lfs.Pointer) (string, error) {
	beside := filepath.Join(s.Dir, otherObjects, strings.TrimPrefix(lfs.ObjectPath(o.OID), "lfs/"))
	for _, at := range []string{s.objectFile(o), beside} {
		if fi, err := os.Lstat(at); err == nil && fi.Mode().IsRegular() && fi.Size() == o.Size {
			return at, nil
		}
	}
	return "", os.ErrNotExist
}

func (s Store) has(o lfs.Pointer) bool {
	_, err := s.findObject(o)
	return err == nil
}

// object opens a content of the store; os.ErrNotExist says that it has none.
func (s Store) object(o lfs.Pointer) (io.ReadCloser, error) {
	at, err := s.findObject(o)
	if err != nil {
		return nil, err
	}
	return lfs.Open(at, o.Size)
}

// AskObjects is what a guest is asked for the contents in list.
func (s Store) AskObjects(list []wire.Object) (io.Reader, error) {
	i, err := s.Info()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := wire.WriteJSON(&b, wire.Question{Path: []byte(i.VM.GuestPath)}); err != nil {
		return nil, err
	}
	for _, o := range list {
		if err := wire.WriteJSON(&b, o); err != nil {
			return nil, err
		}
	}
	return &b, nil
}

// ImportObjects reads a guest's answer to AskObjects and keeps the contents that are
// what the pointers say, by size and hash. What the guest lacks, or sends as another
// content, is noted in the work as lacking. Contents for which there is no room are
// ErrNoRoom. An error keeps what came before it.
func (s Store) ImportObjects(ctx context.Context, in io.Reader, list []wire.Object, w Work, room Room) (_ Work, err error) {
	defer func() { err = explainFull(err, s.Dir) }()
	r := bufio.NewReaderSize(in, 64<<10)
	left := maxObjectBytes
	if room != nil {
		n, err := room()
		if err != nil {
			return w, err
		}
		left = min(left, n)
	}
	l, err := lease.New(s.Dir, incoming)
	if err != nil {
		return w, err
	}
	defer l.Close()
	w.Lacks, w.Lacking = nil, 0
	for _, want := range list {
		if err := ctx.Err(); err != nil {
			return w, err
		}
		came, err := s.importObject(r, filepath.Join(l.Dir, "object"), want, &left)
		if err != nil {
			return w, fmt.Errorf("the guest's LFS file %q is refused: %w", want.Path, err)
		}
		if came {
			continue
		}
		if w.Lacking++; len(w.Lacks) < maxLacks {
			name := string(want.Path)
			if name == "" {
				name = want.OID
			}
			w.Lacks = append(w.Lacks, name)
		}
	}
	return w, s.write(workFile, w)
}

// maxLacks bounds the names of what is lacking.
const maxLacks = 10

// importObject reads the answer to one Object, by way of the file temp.
func (s Store) importObject(r *bufio.Reader, temp string, want wire.Object, left *int64) (came bool, err error) {
	var got wire.Object
	if err := wire.ReadJSON(r, &got); err != nil {
		return false, err
	}
	switch {
	case got.OID != want.OID || got.Size != want.Size:
		return false, fmt.Errorf("it sends %.80q with %d bytes for %s with %d", got.OID, got.Size, want.OID, want.Size)
	case got.Missing:
		return false, nil
	case got.Size > *left:
		return false, ErrNoRoom
	}
	*left -= got.Size
	o := lfs.Pointer{OID: want.OID, Size: want.Size}
	to := s.objectFile(o)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return false, err
	}
	defer os.Remove(temp) // nothing is there after the rename
	is, err := hashInto(temp, io.LimitReader(r, want.Size))
	switch {
	case err != nil:
		return false, err
	case is.Size != want.Size:
		return false, io.ErrUnexpectedEOF
	case is.OID != want.OID:
		return false, nil // it changed while it was read, or is not what it says
	}
	return true, os.Rename(temp, to)
}

// giveObjects brings the contents of the LFS files that refs name into the user's
// repository, beneath its git directory and through no link. What is there stays. It
// returns how many came.
func (s Store) giveObjects(ctx context.Context, r *Repository, head string, refs map[string]string) (n int, err error) {
	if _, err := os.Lstat(filepath.Join(s.Dir, "lfs")); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	var ids []string
	for _, id := range refs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	dir, err := openTree(r.Common)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	err = s.newPointers(ctx, head, slices.Compact(ids), func(_ blob, o lfs.Pointer) error {
		came, err := s.giveObject(dir, o)
		if came {
			n++
		}
		return err
	})
	return n, err
}

// giveObject brings a content into a user's git directory, and reports whether it came:
// the store may lack it, or the user have it.
func (s Store) giveObject(dir *tree, o lfs.Pointer) (bool, error) {
	at, err := s.findObject(o)
	if err != nil {
		return false, nil
	}
	name := lfs.ObjectPath(o.OID)
	st, err := dir.stat(name)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == o.Size {
		return false, nil
	}
	return true, dir.put(name, at, modeFile, tempName)
}

// giveContents brings the contents of the LFS files among some objects of g's into the
// user's repository.
func (s Store) giveContents(ctx context.Context, r *Repository, g git.Git, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	dir, err := openTree(r.Common)
	if err != nil {
		return err
	}
	defer dir.Close()
	return readBlobs(ctx, g, strings.NewReader(strings.Join(ids, "\n")+"\n"), func(b blob) error {
		o, is := lfs.Parse(b.text)
		if !is {
			return nil
		}
		_, err := s.giveObject(dir, o)
		return err
	})
}
