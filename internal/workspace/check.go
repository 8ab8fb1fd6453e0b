package workspace

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"banger/internal/git"
	"banger/internal/workspace/wire"
)

// check looks whether all that the report names is there and is what it should be.
func (q *quarantine) check(ctx context.Context, r wire.Report, base string) error {
	var all strings.Builder
	ids := named(r)
	for id := range ids {
		all.WriteString(id + "\n")
	}
	kinds, err := q.git.Run(ctx, strings.NewReader(all.String()), "cat-file", "--batch-check=%(objectname) %(objecttype)")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(kinds)) {
		id, kind, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch want := ids[id]; kind {
		case want:
		case "missing":
			return fmt.Errorf("the %s %s is not among its objects", want, id)
		default:
			return fmt.Errorf("%s is a %s, not a %s", id, kind, want)
		}
	}
	return both(ctx, func(ctx context.Context) error {
		if err := connected(ctx, q.git, r, base); err != nil {
			return err
		}
		return q.checkSizes(ctx, r, base)
	}, func(ctx context.Context) error {
		return q.checkTree(ctx, r.Tree, base)
	})
}

// both does two things at once. An error of the first one ends the second, and goes before
// its error.
func both(ctx context.Context, first, second func(context.Context) error) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- second(inner) }() // is waited for
	err := first(ctx)
	if err != nil {
		cancel()
	}
	return cmp.Or(err, <-ended)
}

// checkTree refuses a tree with paths that must not be written, and one that another tree
// comes of.
func (q *quarantine) checkTree(ctx context.Context, id, base string) error {
	// The tree is built anew, out of its paths alone: git looks at each as one of a work
	// tree on any system.
	strict := q.git
	strict.Settings = append(slices.Clone(strict.Settings), "core.protectHFS=true", "core.protectNTFS=true")
	entries, out := io.Pipe()
	checked := make(chan error, 1)
	go func() { // ends when entries is read or closed
		b := bufio.NewWriterSize(out, 64<<10)
		err := checkTree(ctx, q.git, id, base, func(line []byte) error {
			_, err := b.Write(append(line, 0))
			return err
		})
		err = cmp.Or(err, b.Flush())
		out.CloseWithError(err)
		checked <- err
	}()
	_, err := strict.Run(ctx, entries, "update-index", "-z", "--index-info")
	entries.CloseWithError(errIndexed)
	if cerr := <-checked; cerr != nil && !errors.Is(cerr, errIndexed) {
		return cerr
	}
	if err != nil {
		return err
	}
	tree, err := strict.Line(ctx, nil, "write-tree", "--missing-ok") // they were looked for above
	if err != nil {
		return err
	}
	if tree != id {
		return fmt.Errorf("its tree is %s, not %s as it says", tree, id)
	}
	return nil
}

// errIndexed says that git reads no more entries.
var errIndexed = errors.New("git has what it reads")

// checkSizes refuses objects of the quarantine that are larger than a file may be.
func (q *quarantine) checkSizes(ctx context.Context, r wire.Report, base string) error {
	own := q.store.git("GIT_OBJECT_DIRECTORY=" + q.dir) // without the store's
	return own.Read(ctx, nil, func(list *bufio.Reader) error {
		for {
			line, err := list.ReadString('\n')
			if errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			size, id, _ := strings.Cut(strings.TrimSpace(line), " ")
			if n, err := strconv.ParseInt(size, 10, 64); err != nil || n > maxFile {
				return fmt.Errorf("%q has %s bytes: the most is %d", q.nameOf(ctx, r, base, id), size, maxFile)
			}
		}
	}, "cat-file", "--batch-all-objects", "--unordered", "--batch-check=%(objectsize) %(objectname)")
}

// nameOf is a path that an object of a report has; its id if none is found.
func (q *quarantine) nameOf(ctx context.Context, r wire.Report, base, id string) string {
	name := id
	q.git.Read(ctx, strings.NewReader(revs(r, base)), func(list *bufio.Reader) error {
		for {
			line, err := list.ReadString('\n')
			if err != nil {
				return err
			}
			if path, found := strings.CutPrefix(strings.TrimSuffix(line, "\n"), id+" "); found && path != "" {
				name = path
				return nil
			}
		}
	}, "rev-list", "--objects", "--stdin")
	return name
}

// revs are what a report names and base does not reach, as git rev-list --stdin takes it.
func revs(r wire.Report, base string) string {
	var all strings.Builder
	for id := range named(r) {
		all.WriteString(id + "\n")
	}
	all.WriteString("^" + base + "\n")
	return all.String()
}

// connected looks whether all is there that what the report names needs. What the base
// reaches is in the store, or was never there (a partial clone).
func connected(ctx context.Context, g git.Git, r wire.Report, base string) error {
	if err := g.Stream(ctx, strings.NewReader(revs(r, base)), io.Discard, "rev-list", "--objects-edge-aggressive", "--quiet", "--stdin"); err != nil {
		return fmt.Errorf("objects are missing: %w", err)
	}
	return nil
}

// named are the ids that a report names, and what each should be.
func named(r wire.Report) map[string]string {
	ids := map[string]string{r.Tree: "tree"}
	if r.Head != "" {
		ids[r.Head] = "commit"
	}
	for _, ref := range r.Refs {
		ids[ref.ID] = "commit"
	}
	return ids
}
