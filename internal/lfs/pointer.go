// Package lfs is Git LFS as far as a workspace needs it: the text that stands for a
// large file in a tree, where the file's content is, and the filter that makes one of
// the other in a guest (filter.lfs). It knows no server: what is not there is not
// fetched. The format is that of Git LFS's specification, version 1.
package lfs

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"strconv"
)

// MaxPointer is the size of the largest pointer, in bytes.
const MaxPointer = 1024

// Pointer is what stands for a file in a tree.
type Pointer struct {
	OID  string // the content's SHA-256, 64 lower-case hex digits
	Size int64  // bytes
}

// versions are the first lines that say that a text is a pointer: the
// specification's, and those of its drafts, which git-lfs reads too.
var versions = []string{
	"https://git-lfs.github.com/spec/v1",
	"https://hawser.github.com/spec/v1",
	"http://git-media.io/v/2",
}

// Text is the pointer's text.
func (p Pointer) Text() []byte {
	return fmt.Appendf(nil, "version %s\noid sha256:%s\nsize %d\n", versions[0], p.OID, p.Size)
}

// key is what a line of a pointer begins with.
var key = regexp.MustCompile(`^[a-z0-9.-]+$`)

// Parse reads a pointer. It reports whether text is one: a line with the version, and
// then lines "KEY VALUE" in the order of their keys, oid and size among them.
func Parse(text []byte) (p Pointer, ok bool) {
	if len(text) > MaxPointer {
		return p, false
	}
	last, size := "", ""
	for n, line := range bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
		k, v, found := bytes.Cut(bytes.TrimSuffix(line, []byte("\r")), []byte(" "))
		name, value := string(k), string(v)
		switch {
		case !found || value == "" || !key.Match(k):
			return p, false
		case n == 0:
			if name != "version" || !isVersion(value) {
				return p, false
			}
			continue
		case name <= last:
			return p, false
		}
		switch last = name; name {
		case "oid":
			p.OID, found = cutOID(value)
			if !found {
				return p, false
			}
		case "size":
			size = value
		}
	}
	n, err := strconv.ParseUint(size, 10, 63)
	if err != nil || p.OID == "" {
		return p, false
	}
	p.Size = int64(n)
	return p, true
}

func isVersion(v string) bool {
	for _, known := range versions {
		if v == known {
			return true
		}
	}
	return false
}

func cutOID(v string) (string, bool) {
	const method = "sha256:"
	if len(v) <= len(method) || v[:len(method)] != method || !IsOID(v[len(method):]) {
		return "", false
	}
	return v[len(method):], true
}

// IsOID reports whether id can be a content's name.
func IsOID(id string) bool {
	b, err := hex.DecodeString(id)
	return err == nil && len(b) == 32 && hex.EncodeToString(b) == id
}

// Objects is where contents are, beneath a git directory.
const Objects = "lfs/objects"

// ObjectPath is where a content is beneath a git directory. oid is one (IsOID).
func ObjectPath(oid string) string {
	return path.Join(Objects, oid[:2], oid[2:4], oid)
}
