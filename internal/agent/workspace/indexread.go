package workspace

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"banger/internal/workspace/wire"
)

const modeGitlink = 0o160000

// indexFile is an index as a file has it.
type indexFile struct {
	text    []byte
	entries []indexEntry // in the index's order
	// trees are the ids of its extension TREE, by the directories' paths; "" is the root.
	// A directory of which the extension does not know the id is not there.
	trees map[string][]byte
}

// indexEntry is an entry of an index. Its bytes are the file's.
type indexEntry struct {
	wire.Entry
	stat []byte // as putStat writes it, and the mode
}

// hasStat reports whether an entry has stat data of a file.
func (e *indexEntry) hasStat() bool {
	return slices.ContainsFunc(e.stat[:16], func(b byte) bool { return b != 0 })
}

// find is the entry of a path; nil if there is none.
func (x *indexFile) find(path string) *indexEntry {
	n, found := slices.BinarySearchFunc(x.entries, path, func(e indexEntry, path string) int { return strings.Compare(string(e.Path), path) })
	if !found {
		return nil
	}
	return &x.entries[n]
}

// readIndex reads an index of version 2 or 3 that needs no other file.
func readIndex(path, hash string) (*indexFile, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	sum, err := newHash(hash)
	if err != nil {
		return nil, err
	}
	x, err := parseIndex(text, sum.Size())
	if err != nil {
		return nil, fmt.Errorf("read the index %q: %w", path, err)
	}
	return x, nil
}

// again reads an index that may well be the same, byte for byte.
func (x *indexFile) again(path, hash string) (*indexFile, error) {
	text, err := os.ReadFile(path)
	if err != nil || bytes.Equal(text, x.text) {
		return x, err
	}
	return readIndex(path, hash)
}

// parseIndex reads an index whose ids have idLength bytes. It does not look at the
// checksum at the end (git's Documentation/gitformat-index.txt).
func parseIndex(text []byte, idLength int) (*indexFile, error) {
	if len(text) < 12+idLength || string(text[:4]) != indexSignature {
		return nil, errIndex("it has no head")
	}
	version, count := binary.BigEndian.Uint32(text[4:]), int(binary.BigEndian.Uint32(text[8:]))
	if version != 2 && version != 3 {
		return nil, errIndex(fmt.Sprintf("its version is %d", version))
	}
	x := &indexFile{text: text, trees: map[string][]byte{}}
	rest := text[12 : len(text)-idLength]
	x.entries = make([]indexEntry, 0, min(count, len(rest)/(indexStatLength+idLength)))
	for range count {
		e, length := parseEntry(rest, idLength)
		if length == 0 || length > len(rest) {
			return nil, errIndex("an entry is cut")
		}
		x.entries = append(x.entries, e)
		rest = rest[length:]
	}
	for len(rest) > 0 {
		if len(rest) < 8 || int64(binary.BigEndian.Uint32(rest[4:])) > int64(len(rest)-8) {
			return nil, errIndex("an extension is cut")
		}
		name, end := string(rest[:4]), 8+int(binary.BigEndian.Uint32(rest[4:]))
		if name[0] < 'A' || name[0] > 'Z' { // one that a reader has to know
			return nil, errIndex(fmt.Sprintf("it has an extension %q", name))
		}
		if name == "TREE" {
			if _, ok := x.parseTrees("", rest[8:end], idLength); !ok {
				return nil, errIndex("its extension TREE can't be read")
			}
		}
		rest = rest[end:]
	}
	return x, nil
}

type errIndex string

func (e errIndex) Error() string { return string(e) }

// parseEntry reads the first entry of text, and how long it is; 0 if it is cut.
func parseEntry(text []byte, idLength int) (e indexEntry, length int) {
	head := indexStatLength + idLength + indexFlagsLength
	if len(text) < head {
		return e, 0
	}
	flags := binary.BigEndian.Uint16(text[head-indexFlagsLength:])
	e.stat, e.ID = text[:indexStatLength], text[indexStatLength:indexStatLength+idLength]
	e.Mode, e.Stage = binary.BigEndian.Uint32(text[24:]), uint8(flags>>flagStageShift&3)
	if flags&flagAssumeValid != 0 {
		e.Bits |= wire.AssumeUnchanged
	}
	if flags&flagExtended != 0 {
		if len(text) < head+indexFlagsLength {
			return e, 0
		}
		extended := binary.BigEndian.Uint16(text[head:])
		if extended&extendedSkip != 0 {
			e.Bits |= wire.SkipWorktree
		}
		if extended&extendedIntent != 0 {
			e.Bits |= wire.IntentToAdd
		}
		head += indexFlagsLength
	}
	end := bytes.IndexByte(text[head:], 0)
	if end < 0 {
		return e, 0
	}
	e.Path = text[head : head+end]
	length = head + end
	return e, length + indexAlign - length%indexAlign
}

// parseTrees reads the part of the extension TREE that is about the directory dir and all
// below it, and returns what follows.
func (x *indexFile) parseTrees(dir string, text []byte, idLength int) (rest []byte, ok bool) {
	name, rest, found := bytes.Cut(text, []byte{0})
	line, rest, ended := bytes.Cut(rest, []byte("\n"))
	count, below, spaced := bytes.Cut(line, []byte(" "))
	entries, err := strconv.Atoi(string(count))
	trees, berr := strconv.Atoi(string(below))
	if !found || !ended || !spaced || err != nil || berr != nil {
		return nil, false
	}
	if len(name) > 0 {
		dir += string(name) + "/"
	}
	if entries >= 0 { // else the id is not known
		if len(rest) < idLength {
			return nil, false
		}
		x.trees[dir], rest = rest[:idLength], rest[idLength:]
	}
	for range trees {
		if rest, ok = x.parseTrees(dir, rest, idLength); !ok {
			return nil, false
		}
	}
	return rest, true
}
