package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"banger/internal/hint"
	"banger/internal/paths"
	"banger/internal/vm"
)

// ErrNotInTrash says that no entry of the trash is called so.
var ErrNotInTrash = errors.New("not in the trash")

// Entry is a deleted VM.
type Entry struct {
	// Seq orders the deletions of a trash; a later one has a higher number.
	Seq       int64
	ID        vm.ID
	Name      string // "" if it can't be told any more
	DeletedAt time.Time
	UsedBytes int64  // of the host's disk
	Dir       string // where its files are now
	// NotSaved says why work in it was not saved; "" if all was.
	NotSaved string
	// Session says that the VM was made with --rm.
	Session bool
	// held is when the entry was put, on the trash's own clock.
	held time.Duration
}

// label is what a message calls the VM.
func (e Entry) label() string {
	if e.Name != "" {
		return e.Name
	}
	return string(e.ID)
}

// AmbiguousError is a reference that several entries share.
type AmbiguousError struct {
	Ref     string
	Entries []Entry // newest first
}

func (e *AmbiguousError) Error() string {
	var all []string
	for _, x := range e.Entries {
		all = append(all, fmt.Sprintf("%s (%s, deleted %s)", x.ID, x.Name, x.DeletedAt.UTC().Format("2006-01-02 15:04:05 UTC")))
	}
	return fmt.Sprintf("%q is the name, or the beginning of the id, of %d VMs in the trash: %s", e.Ref, len(all), strings.Join(all, ", "))
}

// entryName is what the name of an entry's directory says:
//
//	SEQUENCE.TIME.HELD.ID.NAME.FLAGS
//
// HELD is Entry.held in seconds. FLAGS are "s" for a session's VM, "n" for one
// that was not saved, "-" for none. NAME may be empty.
type entryName struct {
	seq               int64
	at                time.Time
	held              time.Duration
	id                vm.ID
	name              string
	session, notSaved bool
}

const stampForm = "20060102T150405Z" // UTC

func (n entryName) String() string {
	flags := ""
	if n.session {
		flags += "s"
	}
	if n.notSaved {
		flags += "n"
	}
	if flags == "" {
		flags = "-"
	}
	return fmt.Sprintf("%012d.%s.%d.%s.%s.%s", n.seq, n.at.UTC().Format(stampForm), n.held/time.Second, n.id, n.name, flags)
}

// parseEntry reads a directory's name. Only what String writes is an entry.
func parseEntry(s string) (entryName, bool) {
	f := strings.Split(s, ".")
	if len(f) != 6 {
		return entryName{}, false
	}
	seq, err1 := strconv.ParseInt(f[0], 10, 64)
	at, err2 := time.Parse(stampForm, f[1])
	held, err3 := strconv.ParseInt(f[2], 10, 32)
	n := entryName{seq: seq, at: at, held: time.Duration(held) * time.Second, id: vm.ID(f[3]), name: f[4],
		session: strings.Contains(f[5], "s"), notSaved: strings.Contains(f[5], "n")}
	ok := errors.Join(err1, err2, err3) == nil && seq > 0 && vm.CheckID(f[3]) == nil &&
		(f[4] == "" || vm.CheckName(f[4]) == nil) && n.String() == s
	return n, ok
}

// entry looks into the entry's directory below trash. It is false if the
// directory is gone.
func (n entryName) entry(trash string) (Entry, bool) {
	e := Entry{Seq: n.seq, ID: n.id, Name: n.name, DeletedAt: n.at, Session: n.session, held: n.held, Dir: filepath.Join(trash, n.String())}
	used, err := Used(e.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Entry{}, false
	}
	e.UsedBytes = used // of a directory that can't be read, what could be
	if n.notSaved {
		e.NotSaved = whyNotSaved(e.Dir)
	}
	return e, true
}

// whyNotSaved reads the reason, from trash.json or else from the VM's record.
func whyNotSaved(dir string) string {
	var r reason
	if readJSON(filepath.Join(dir, reasonFile), &r) == nil && r.NotSaved != "" {
		return r.NotSaved
	}
	var v vm.Record
	if readJSON(filepath.Join(dir, paths.RecordFile), &v) == nil && v.NotSaved != "" {
		return v.NotSaved
	}
	return "the reason was not recorded"
}

func readJSON(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return json.NewDecoder(io.LimitReader(f, 256<<10)).Decode(v)
}

// Find returns the entry that ref names: a VM's name, its id, or the beginning
// of one id. A reference that several VMs share is an *AmbiguousError; one that
// none has is ErrNotInTrash. Of two entries with one id the newest counts.
func (t *Trash) Find(ref string) (Entry, error) {
	list, err := t.List()
	if err != nil {
		return Entry{}, err
	}
	return t.findIn(list, ref)
}

func (t *Trash) findIn(list []Entry, ref string) (Entry, error) {
	var found []Entry
	for _, e := range list {
		if ref != "" && e.Name == ref {
			found = append(found, e)
		}
	}
	if len(found) == 0 { // names come first
		seen := map[vm.ID]bool{}
		for _, e := range list {
			if ref != "" && strings.HasPrefix(string(e.ID), ref) && !seen[e.ID] {
				seen[e.ID] = true
				found = append(found, e)
			}
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		if old := t.foreign(ref); old != "" {
			return Entry{}, hint.Add(fmt.Errorf("%q was left by an earlier banger: %w", old, ErrNotInTrash), "move it away by hand: this banger does not touch it")
		}
		return Entry{}, hint.Add(fmt.Errorf("%q: %w", ref, ErrNotInTrash), "banger trash list shows what there is")
	}
	return Entry{}, hint.Add(&AmbiguousError{ref, found}, "type the id, or its first digits")
}

// foreign returns the path of a directory that is no entry and whose name has
// the id ref: an earlier banger's entries are called TIME-ID.
func (t *Trash) foreign(ref string) string {
	if vm.CheckID(ref) != nil {
		return ""
	}
	if found, _ := filepath.Glob(filepath.Join(t.dir, "*-"+ref)); len(found) > 0 && !strings.HasPrefix(filepath.Base(found[0]), doomed) {
		return found[0]
	}
	return ""
}
