package lfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Filter turns contents into pointers and back.
type Filter struct {
	// GitDir finds the git directory whose Objects are meant. It is asked only when
	// there is something to keep or to find.
	GitDir func() (string, error)
	// HashOnly keeps no content.
	HashOnly bool
}

// head reads as much of a file as a pointer can have, and says whether that is the
// whole file.
func head(in io.Reader) (text []byte, whole bool, err error) {
	text, err = io.ReadAll(io.LimitReader(in, MaxPointer+1))
	return text, len(text) <= MaxPointer, err
}

// Clean writes the pointer that stands for a file: of a pointer, and of an empty
// file, the file itself. The content is kept among the objects.
func (f *Filter) Clean(in io.Reader, out io.Writer) error {
	text, whole, err := head(in)
	if err != nil {
		return err
	}
	if _, is := Parse(text); whole && (is || len(text) == 0) {
		_, err := out.Write(text)
		return err
	}
	in = io.MultiReader(bytes.NewReader(text), in)
	var p Pointer
	if f.HashOnly {
		p, err = Hash(in, io.Discard)
	} else {
		p, err = f.keep(in)
	}
	if err != nil {
		return err
	}
	_, err = out.Write(p.Text())
	return err
}

// Hash copies a content, and returns the pointer that stands for it.
func Hash(in io.Reader, out io.Writer) (Pointer, error) {
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(sum, out), in)
	return Pointer{OID: hex.EncodeToString(sum.Sum(nil)), Size: n}, err
}

// keep writes a content among the objects, whole or not at all.
func (f *Filter) keep(in io.Reader) (p Pointer, err error) {
	dir, err := f.GitDir()
	if err != nil {
		return p, err
	}
	temps := filepath.Join(dir, "lfs", "tmp")
	if err := os.MkdirAll(temps, 0o777); err != nil {
		return p, err
	}
	temp, err := os.CreateTemp(temps, "banger-")
	if err != nil {
		return p, err
	}
	defer os.Remove(temp.Name()) // nothing is there after the rename
	p, err = Hash(in, temp)
	if err = errors.Join(err, temp.Chmod(0o644), temp.Close()); err != nil {
		return p, err
	}
	to := filepath.Join(dir, ObjectPath(p.OID))
	if fi, err := os.Lstat(to); err == nil && fi.Mode().IsRegular() && fi.Size() == p.Size {
		return p, nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return p, err
	}
	return p, os.Rename(temp.Name(), to)
}

// Smudge writes the content that a pointer stands for. A pointer whose content is not
// there stays a pointer, and what is no pointer stays as it is.
func (f *Filter) Smudge(in io.Reader, out io.Writer) error {
	text, whole, err := head(in)
	if err != nil {
		return err
	}
	from := io.MultiReader(bytes.NewReader(text), in)
	if p, is := Parse(text); whole && is {
		dir, err := f.GitDir()
		if err != nil {
			return err
		}
		content, err := Open(filepath.Join(dir, ObjectPath(p.OID)), p.Size)
		if err == nil {
			defer content.Close()
			from = content
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	_, err = io.Copy(out, from)
	return err
}

// Open opens a content that has size bytes. Anything else at path is as nothing:
// fs.ErrNotExist.
func Open(path string, size int64) (*os.File, error) {
	fi, err := os.Stat(path)
	if err == nil && (!fi.Mode().IsRegular() || fi.Size() != size) {
		err = &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}
