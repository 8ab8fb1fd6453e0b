package workspace

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"banger/internal/git"
	"banger/internal/lfs"
)

// lfsFilter is the filter that banger knows: the agent is it in a guest, package lfs
// on the host. No other one runs, and none of the repository's does.
const lfsFilter = "lfs"

// filter finds out which files are under a filter, and copies those that changed into
// the scratch work tree if copies are wanted: of an LFS file its pointer, which is the
// form in which git's own conversions get it.
func (p *Plan) filter(ctx context.Context, changed []string, copies bool) error {
	large := map[string]bool{}
	if p.mayFilter() {
		var names []string
		for _, f := range p.Files {
			if f.Mode != modeLink {
				names = append(names, string(f.Path))
			}
		}
		p.Filters = map[string]int{}
		err := filtersOf(ctx, p.s.Git, names, func(name, filter string) {
			if filter == lfsFilter {
				large[name] = true
			} else {
				p.Filters[filter]++
			}
		})
		if err != nil {
			return err
		}
		if err := p.knownPointers(ctx, large, changed); err != nil {
			return err
		}
	}
	if !copies {
		return nil
	}
	for _, name := range changed {
		copyIn := p.copyIn
		if large[name] {
			copyIn = p.copyPointer
		}
		if err := copyIn(name); err != nil {
			return err
		}
	}
	return nil
}

// mayFilter reports whether any attributes speak of a filter: most repositories have
// none, and git need not be asked about each file.
func (p *Plan) mayFilter() bool {
	speaks := func(name string) bool {
		text, err := readSmall(name, maxConfig)
		return err != nil || bytes.Contains(text, []byte("filter"))
	}
	if speaks(filepath.Join(p.s.repo, "info", "attributes")) {
		return true
	}
	here := map[string]bool{}
	for _, f := range p.Files {
		if name := string(f.Path); path.Base(name) == ".gitattributes" {
			if speaks(filepath.Join(p.s.tree, name)) {
				return true
			}
			here[name] = true
		}
	}
	return slices.ContainsFunc(p.entries, func(e entry) bool { // git takes the index's for one that is not there
		return path.Base(string(e.Path)) == ".gitattributes" && !here[string(e.Path)]
	})
}

// filtersOf passes on which files g's attributes put under a filter. args are of
// check-attr.
func filtersOf(ctx context.Context, g git.Git, names []string, each func(name, filter string), args ...string) error {
	var fields [3]string // path, attribute, value
	n := 0
	args = append(append([]string{"check-attr", "-z", "--stdin"}, args...), "filter")
	return g.Names(ctx, listOf(names), func(field []byte) error {
		fields[n%3] = string(field)
		if n++; n%3 != 0 {
			return nil
		}
		switch filter := fields[2]; filter {
		case "unspecified", "unset", "set": // names of no filter
		default:
			each(fields[0], filter)
		}
		return nil
	}, args...)
}

// knownPointers reads the pointers of LFS files that did not change out of the index.
func (p *Plan) knownPointers(ctx context.Context, large map[string]bool, changed []string) error {
	other := map[string]bool{}
	for _, name := range changed {
		other[name] = true
	}
	size := map[string]int64{}
	for _, f := range p.Files {
		size[string(f.Path)] = f.Size
	}
	var ids strings.Builder
	var names []string
	for _, e := range p.entries {
		name := string(e.Path)
		if _, there := size[name]; there && large[name] && !other[name] && e.Stage == 0 {
			fmt.Fprintf(&ids, "%x\n", e.ID)
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	n := 0
	return readBlobs(ctx, p.s.Git, strings.NewReader(ids.String()), func(b blob) error {
		name := names[n]
		n++
		known, is := lfs.Parse(b.text)
		if !is {
			return nil
		}
		if text, err := p.head(name); err != nil {
			return err
		} else if _, is := lfs.Parse(text); is {
			p.Pointers++
		} else if size[name] == known.Size {
			p.content[name] = known
		}
		return nil
	})
}

// head reads the beginning of a file of the user's: all of it if it can be a pointer.
func (p *Plan) head(name string) ([]byte, error) {
	f, _, err := p.files.file(name)
	if err != nil {
		return nil, p.unread(name, err)
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, lfs.MaxPointer+1))
}

// copyPointer writes the pointer of an LFS file of the user's into the scratch work
// tree: that of its content, or the pointer that it is.
func (p *Plan) copyPointer(name string) error {
	f, st, err := p.files.file(name)
	if err != nil {
		return p.copyIn(name) // it may be a link
	}
	defer f.Close()
	clean, o, is, err := cleanForm(f)
	if err != nil {
		return fmt.Errorf("read %q: %w", name, err)
	}
	if is {
		p.content[name] = o
	} else if o.OID != "" {
		p.Pointers++
	}
	return p.s.put(name, bytes.NewReader(clean), os.FileMode(st.Mode&0o700|0o400))
}

// cleanForm is what stands for an LFS file in git. It reports whether the file is a
// content, and of which pointer; a file that is a pointer itself is none.
func cleanForm(f *os.File) (clean []byte, o lfs.Pointer, content bool, err error) {
	var out bytes.Buffer
	if err := (&lfs.Filter{HashOnly: true}).Clean(f, &out); err != nil {
		return nil, o, false, err
	}
	o, is := lfs.Parse(out.Bytes())
	if !is {
		return out.Bytes(), o, false, nil // an empty file
	}
	begin := make([]byte, out.Len()+1)
	n, err := f.ReadAt(begin, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return out.Bytes(), o, !bytes.Equal(begin[:n], out.Bytes()), err
}

// smudge gives the LFS files of a commit that was checked out in the scratch work tree
// their content, as far as the user's repository has it.
func (p *Plan) smudge(ctx context.Context) error {
	var names []string
	for _, e := range p.entries {
		if e.Mode == modeFile || e.Mode == modeExec {
			names = append(names, string(e.Path))
		}
	}
	var large []string
	err := filtersOf(ctx, p.s.Git, names, func(name, filter string) {
		if filter == lfsFilter {
			large = append(large, name)
		}
	})
	if err != nil || len(large) == 0 {
		return err
	}
	for _, name := range large {
		at := filepath.Join(p.s.tree, name)
		text, err := readSmall(at, lfs.MaxPointer)
		if err != nil {
			continue // no pointer
		}
		known, is := lfs.Parse(text)
		if !is {
			continue
		}
		temp := filepath.Join(p.s.dir, "content")
		if err := copyObject(temp, known, p.Repo.object); errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		fi, err := os.Stat(at)
		if err == nil {
			err = errors.Join(os.Chmod(temp, fi.Mode()), os.Rename(temp, at))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// smudge gives the changes in dir that are pointers of LFS files their content, where
// the user's tree is to have it: where it has content at the path, or where the user's
// git has the filter.
func (m *Merge) smudge(ctx context.Context, g git.Git, dir string) error {
	pointers := map[string]lfs.Pointer{}
	at := map[string]string{}
	var names []string
	for n, c := range m.Changes {
		if c.NewMode != modeFile && c.NewMode != modeExec {
			continue
		}
		file := filepath.Join(dir, strconv.Itoa(n))
		text, err := readSmall(file, lfs.MaxPointer)
		if err != nil {
			continue // no pointer
		}
		if o, is := lfs.Parse(text); is {
			name := string(c.Path)
			names, pointers[name], at[name] = append(names, name), o, file
		}
	}
	if len(names) == 0 {
		return nil
	}
	var large []string
	err := filtersOf(ctx, g, names, func(name, filter string) {
		if filter == lfsFilter {
			large = append(large, name)
		}
	}, "--cached")
	if err != nil {
		return err
	}
	_, hasFilter := m.plan.Repo.all().last("filter.lfs.clean")
	files := map[string]string{}
	for name, o := range m.plan.content {
		files[o.OID] = name
	}
	temp := filepath.Join(dir, "content")
	for _, name := range large {
		err := os.ErrNotExist
		if _, has := m.plan.content[name]; has || hasFilter {
			err = copyObject(temp, pointers[name], m.store.object, m.plan.Repo.object, func(o lfs.Pointer) (io.ReadCloser, error) {
				file, found := files[o.OID]
				if !found {
					return nil, os.ErrNotExist
				}
				f, _, err := m.plan.files.file(file)
				return f, err
			})
		}
		if errors.Is(err, os.ErrNotExist) {
			m.Pointers = append(m.Pointers, name)
			continue
		}
		if err == nil {
			err = os.Rename(temp, at[name])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// object opens a content of the user's repository, beneath its git directory and
// through no link; a setting of the repository's names no other place. What is not
// there is os.ErrNotExist.
func (r *Repository) object(o lfs.Pointer) (io.ReadCloser, error) {
	if r.IsPlain() {
		return nil, os.ErrNotExist
	}
	dir, err := openTree(r.Common)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, st, err := dir.file(lfs.ObjectPath(o.OID))
	if err != nil {
		return nil, os.ErrNotExist
	}
	if st.Size != o.Size {
		f.Close()
		return nil, os.ErrNotExist
	}
	return f, nil
}

// copyObject writes a content into a new file of ours, from the first source that has
// it and holds what its name says. os.ErrNotExist says that none does.
func copyObject(to string, o lfs.Pointer, sources ...func(lfs.Pointer) (io.ReadCloser, error)) error {
	for _, open := range sources {
		in, err := open(o)
		if errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		got, err := hashInto(to, io.LimitReader(in, o.Size+1))
		in.Close()
		if err == nil && got == o {
			return nil
		}
		os.Remove(to)
		if err != nil {
			return err
		}
	}
	return os.ErrNotExist
}

// hashInto writes a new file, onto the disk, and returns the pointer that stands for it.
func hashInto(to string, in io.Reader) (got lfs.Pointer, err error) {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return got, err
	}
	got, err = lfs.Hash(in, f)
	return got, errors.Join(err, f.Sync(), f.Close())
}

// blob is an object that was read.
type blob struct {
	id   string
	name string // what stood after the id
	text []byte // nil for what is longer than a pointer
}

// readBlobs passes on the objects whose ids in lists, a line each, in its order. A
// missing one has no text.
func readBlobs(ctx context.Context, g git.Git, in io.Reader, each func(blob) error) error {
	return g.Read(ctx, in, func(r *bufio.Reader) error {
		for {
			line, err := r.ReadString('\n')
			if errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
			b := blob{id: f[0]}
			if len(f) < 3 { // "ID missing"
				if err := each(b); err != nil {
					return err
				}
				continue
			}
			if len(f) == 4 {
				b.name = f[3]
			}
			size, err := strconv.ParseInt(f[2], 10, 64)
			if err != nil {
				return fmt.Errorf("git cat-file says %.200q", line)
			}
			if f[1] == "blob" && size <= lfs.MaxPointer {
				b.text = make([]byte, size)
				_, err = io.ReadFull(r, b.text)
			} else {
				_, err = io.CopyN(io.Discard, r, size)
			}
			if err == nil {
				_, err = r.Discard(1) // the newline at its end
			}
			if err == nil {
				err = each(b)
			}
			if err != nil {
				return err
			}
		}
	}, "cat-file", "--batch=%(objectname) %(objecttype) %(objectsize) %(rest)")
}
