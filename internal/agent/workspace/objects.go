package workspace

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"banger/internal/lfs"
	"banger/internal/workspace/wire"
)

// Objects answers which contents of LFS files the guest has, with the contents: out of
// the objects that git's filter kept, or out of the tree, whose files may hold what was
// never committed. The host hashes them.
func Objects(ctx context.Context, in io.Reader, home string, out io.Writer) error {
	r := bufio.NewReader(in)
	var q wire.Question
	if err := wire.ReadJSON(r, &q); err != nil {
		return err
	}
	tree := place(q.Path, home)
	// A repository that is gone has no objects; its files are there.
	dir, err := guestGit(tree).Line(ctx, nil, "rev-parse", "--path-format=absolute", "--git-common-dir")
	if err != nil {
		dir = filepath.Join(tree, gitDir)
	}
	w := bufio.NewWriterSize(out, 256<<10)
	for {
		var o wire.Object
		err := wire.ReadJSON(r, &o)
		if errors.Is(err, io.EOF) {
			return w.Flush()
		}
		if err == nil {
			err = sendObject(w, dir, tree, o)
		}
		if err != nil {
			return err
		}
	}
}

func sendObject(w *bufio.Writer, dir, tree string, o wire.Object) error {
	if !lfs.IsOID(o.OID) {
		return fmt.Errorf("%.80q is no content's name", o.OID)
	}
	f, err := lfs.Open(filepath.Join(dir, lfs.ObjectPath(o.OID)), o.Size)
	if err != nil && len(o.Path) > 0 {
		f, err = openContent(filepath.Join(tree, string(o.Path)), o)
	}
	if o.Missing = err != nil; o.Missing {
		return wire.WriteJSON(w, o)
	}
	defer f.Close()
	if err := wire.WriteJSON(w, o); err != nil {
		return err
	}
	// What is written meanwhile changes no length: the host sees it by the hash.
	n, err := io.Copy(w, io.LimitReader(f, o.Size))
	if err == nil {
		_, err = io.CopyN(w, zeros{}, o.Size-n)
	}
	return err
}

// openContent opens a file of the tree that may hold o.
func openContent(path string, o wire.Object) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && (!fi.Mode().IsRegular() || fi.Size() != o.Size) {
		err = fmt.Errorf("%q is not the file that is wanted", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
