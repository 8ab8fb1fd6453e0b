// Package wire is what the host's half of a workspace and the guest's say to each
// other. Both run as an ordinary process of a session: the host asks for the
// agent's own program (exec.Request.Agent), and the stream is its stdin and
// stdout.
//
// In ("receive"): stdin is one tar stream. Its entries are, in this order,
//
//	header         a Header, as JSON
//	known          a Known a line, if the header says so
//	git/…          files of the guest's git directory
//	tree/…         the work tree: directories, files, symbolic links
//	git/lfs/…      hard links to files of the tree, of which the guest makes copies
//	index          the entries of the guest's index, see WriteEntries
//
// and stdout is one line, a Received, when the files are there. They are on the guest's
// disk when the process has ended well.
//
// Out ("report"): stdin is one line, a Question; stdout is one line, a Report, and
// after it a pack or a tar stream, if the report says so.
//
// Out ("objects"): stdin is one line, a Question of which the path counts, and a line
// for each content that the host lacks, an Object; stdout is the same line for each in
// the same order, and after it the content, of Size bytes, unless it is Missing.
//
// What comes from the guest is not trusted: package workspace checks it.
package wire

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Verbs of the agent's program: its second argument, after Program.
const (
	Program = "workspace"
	Receive = "receive"
	Answer  = "report"
	Objects = "objects"
)

// Parts of the tar stream.
const (
	PartHeader = "header"
	PartKnown  = "known"
	PartGit    = "git/"
	PartTree   = "tree/"
	PartIndex  = "index"
	// PartUnchanged is of a report's stream alone.
	PartUnchanged = "unchanged"
)

// CopyFile is the file in the guest's git directory that names the copy, and MaxCopy
// bounds its length, in bytes.
const (
	CopyFile = "banger-copy"
	MaxCopy  = 64
)

// BaseFile is the file in the guest's git directory that holds a Base, as a line.
const BaseFile = "banger-base"

// Base is what the host has of a copy from the beginning. An agent that believes a guest's
// version of it sends too little, and the host refuses that.
type Base struct {
	Base string `json:"base"`           // the base's commit
	Tree string `json:"tree"`           // the base's
	Head string `json:"head,omitempty"` // the host's HEAD; "" if it had no commit
}

// MaxStashes bounds the stash entries of a report.
const MaxStashes = 1000

// MaxFile bounds a file that comes out, in bytes: packed, zeros take a thousandth of it. It
// holds for what git keeps of it, which of an LFS file is a pointer.
const MaxFile = 4 << 30

// MaxLine bounds a line of JSON, in bytes.
const MaxLine = 8 << 20

// Header says what a stream brings.
type Header struct {
	// Path is where the tree goes: absolute, or relative to root's home. Its bytes
	// need not be UTF-8.
	Path []byte `json:"path"`
	// Force replaces what is there, also what can't be looked at.
	Force bool `json:"force,omitempty"`
	// Known says that a part follows with the workspaces that are at Path, or below it.
	// They are replaced if they are as the host has them.
	Known bool `json:"known,omitempty"`
	// Hash is the repository's object format: "sha1" or "sha256".
	Hash string `json:"hash"`
}

// Known is what the host has of a workspace: Tree and Refs of its question, Head, Anew
// and Stats are those of the last report.
type Known struct {
	Question
	Head  string `json:"head,omitempty"`
	Anew  bool   `json:"anew,omitempty"`
	Stats string `json:"stats,omitempty"`
}

// Received is the guest's answer to a stream.
type Received struct {
	Path  []byte `json:"path"` // absolute
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
	Error string `json:"error,omitempty"`
}

// Question asks what a workspace has become.
type Question struct {
	Path []byte `json:"path"`
	Base string `json:"base"` // the base's commit
	Hash string `json:"hash"`
	// Tree is the tree that the host has already; a guest whose tree is the same
	// sends no pack.
	Tree string `json:"tree,omitempty"`
	// Refs are the branches and stash entries that the host has already, in the report's
	// order.
	Refs []Ref `json:"refs,omitempty"`
	// Private are the ignored files that went in: they count wherever they are.
	Private [][]byte `json:"private,omitempty"`
	// Submodules are paths of repositories that are workspaces of their own: in this
	// one's tree they stay submodules.
	Submodules [][]byte `json:"submodules,omitempty"`
	// Plain has the guest's git find out all of it, though the workspace is in a state in
	// which the agent needs it for a part only. The answer is the same.
	Plain bool `json:"plain,omitempty"`
}

// Ref is a branch's full name and its commit.
type Ref struct {
	Name []byte `json:"name"`
	ID   string `json:"id"`
}

// Report is what a workspace has become.
type Report struct {
	// Tree is the tree of all that git would not ignore, and of all paths of the
	// base.
	Tree string `json:"tree"`
	// Head is the commit that HEAD is at, Branch the branch that it names: "" for
	// an unborn branch, and for a detached HEAD.
	Head   string `json:"head,omitempty"`
	Branch []byte `json:"branch,omitempty"`
	// Refs are all branches, by name, and then the stash's entries, as refs/stash/0 and so
	// on, the last one first.
	Refs []Ref `json:"refs,omitempty"`
	// Ignored counts the files that git ignores; they are in no tree.
	Ignored int `json:"ignored"`
	// Nested are the repositories that the guest made in the tree: their files are
	// in Tree, their git directories are not.
	Nested [][]byte `json:"nested,omitempty"`
	// Copy is which copy of the host's the repository came with, as CopyFile says; ""
	// if nothing does.
	Copy string `json:"copy,omitempty"`
	// Anew says that the repository that went in is gone, or its base: the tree was
	// made in a repository of its own, and no commit of the guest's is reported.
	Anew bool `json:"anew,omitempty"`
	// Pack says that a pack follows.
	Pack bool `json:"pack"`
	// Files says that the image has no git, and that a tar stream follows: of it the host
	// makes the tree. Its first entry, PartUnchanged, names the files that are as they went
	// in, each ended by NUL; the others are those that are not. Links are the submodules of
	// the index whose directories are there.
	Files bool     `json:"files,omitempty"`
	Links [][]byte `json:"links,omitempty"`
	// Stats is a digest of the names and stat data of all files, if the image has no git.
	Stats string `json:"stats,omitempty"`
	Error string `json:"error,omitempty"`
	// Gone says that there is no directory at the path.
	Gone bool `json:"gone,omitempty"`
}

// Object is a content that Git LFS keeps, which the host lacks.
type Object struct {
	OID  string `json:"oid"`
	Size int64  `json:"size"` // bytes
	// Path is a file of the tree that may hold it; empty for none.
	Path []byte `json:"path,omitempty"`
	// Missing says that the guest has no such content of that size.
	Missing bool `json:"missing,omitempty"`
}

// WriteJSON writes v as a line.
func WriteJSON(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(text) >= MaxLine {
		return fmt.Errorf("a line of %d bytes: the most is %d", len(text), MaxLine)
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// ReadJSON reads a line into v.
func ReadJSON(r *bufio.Reader, v any) error {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > MaxLine {
			return fmt.Errorf("a line is longer than %d bytes", MaxLine)
		}
		if err == nil {
			return json.Unmarshal(line, v)
		}
		if errors.Is(err, io.EOF) && len(line) > 0 {
			err = io.ErrUnexpectedEOF
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// Bits of an Entry.
const (
	// Same says that the file in the tree is what the entry names: the guest's stat
	// data go with it, and no git reads the file again.
	Same = 1 << iota
	IntentToAdd
	AssumeUnchanged
	SkipWorktree

	allBits = Same | IntentToAdd | AssumeUnchanged | SkipWorktree
)

// Entry is one of the index's.
type Entry struct {
	Path  []byte
	Mode  uint32 // 100644, 100755, 120000 or 160000, octal
	ID    []byte // the object's, 20 or 32 bytes
	Stage uint8  // 0, or 1 to 3 in a conflict
	Bits  uint8
}

// maxPath bounds a path, in bytes, as Linux's PATH_MAX does.
const maxPath = 4096

// WriteEntries writes an index's entries: of each its stage, bits and mode, the
// lengths of id and path, and both.
func WriteEntries(w io.Writer, entries []Entry) error {
	b := bufio.NewWriter(w)
	for _, e := range entries {
		if len(e.Path) > maxPath {
			return fmt.Errorf("path %.40q… has %d bytes: the most is %d", e.Path, len(e.Path), maxPath)
		}
		b.Write([]byte{e.Stage, e.Bits, uint8(len(e.ID))})
		b.Write(binary.BigEndian.AppendUint32(nil, e.Mode))
		b.Write(binary.BigEndian.AppendUint16(nil, uint16(len(e.Path))))
		b.Write(e.ID)
		b.Write(e.Path)
	}
	return b.Flush()
}

// ReadEntries reads what WriteEntries wrote, to its end, and passes each entry
// on. It refuses what can't be an entry.
func ReadEntries(r io.Reader, each func(Entry) error) error {
	b := bufio.NewReader(r)
	for {
		var head [9]byte
		if _, err := io.ReadFull(b, head[:1]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if _, err := io.ReadFull(b, head[1:]); err != nil {
			return fmt.Errorf("index: %w", io.ErrUnexpectedEOF)
		}
		e := Entry{Stage: head[0], Bits: head[1], Mode: binary.BigEndian.Uint32(head[3:7])}
		ids, path := int(head[2]), int(binary.BigEndian.Uint16(head[7:9]))
		switch {
		case e.Stage > 3, e.Bits&^allBits != 0, ids != 20 && ids != 32, path == 0, path > maxPath:
			return fmt.Errorf("index: the head % x is no entry's", head)
		}
		text := make([]byte, ids+path)
		if _, err := io.ReadFull(b, text); err != nil {
			return fmt.Errorf("index: %w", io.ErrUnexpectedEOF)
		}
		e.ID, e.Path = text[:ids], text[ids:]
		if err := each(e); err != nil {
			return err
		}
	}
}

// ID is an object's id in hex, as bytes.
func ID(text string) ([]byte, error) {
	id, err := hex.DecodeString(text)
	if err != nil || (len(id) != 20 && len(id) != 32) {
		return nil, fmt.Errorf("%.80q is no object's id", text)
	}
	return id, nil
}
