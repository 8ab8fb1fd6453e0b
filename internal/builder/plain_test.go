package builder

import (
	"archive/tar"
	"strings"
	"testing"
	"time"
)

// What mke2fs and debugfs would lose, or take for something else, is not plain.
func TestPlainEntries(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	pax := func(k, v string) map[string]string { return map[string]string{k: v} }
	for _, c := range []struct {
		name  string
		h     tar.Header
		plain bool
	}{
		{"a file", tar.Header{Typeflag: tar.TypeReg, Name: "./a b\n"}, true},
		{"a device", tar.Header{Typeflag: tar.TypeChar, Name: "./dev/null", Devmajor: 1, Devminor: 3}, true},
		{"a capability", tar.Header{Typeflag: tar.TypeReg, Name: "a", PAXRecords: pax("SCHILY.xattr.security.capability", "x")}, true},
		{"part of a second", tar.Header{Typeflag: tar.TypeReg, Name: "a", ModTime: now.Add(1)}, false},
		{"before 1970", tar.Header{Typeflag: tar.TypeReg, Name: "a", ModTime: time.Unix(-1, 0)}, false},
		{"after 2038", tar.Header{Typeflag: tar.TypeReg, Name: "a", ModTime: time.Unix(1<<31, 0)}, false},
		{"an owner that the namespace lacks", tar.Header{Typeflag: tar.TypeReg, Name: "a", Gid: 1 << 16}, false},
		{"a trusted attribute", tar.Header{Typeflag: tar.TypeReg, Name: "a", PAXRecords: pax("SCHILY.xattr.trusted.a", "x")}, false},
		{"a large attribute", tar.Header{Typeflag: tar.TypeReg, Name: "a", PAXRecords: pax("SCHILY.xattr.user.a", strings.Repeat("x", 4000))}, false},
		{"a device with debugfs's own line", tar.Header{Typeflag: tar.TypeChar, Name: "dev/a\nrm /etc/passwd"}, false},
		{"a device of a large number", tar.Header{Typeflag: tar.TypeBlock, Name: "dev/a", Devminor: 1 << 16}, false},
		{"a way out", tar.Header{Typeflag: tar.TypeReg, Name: "../a"}, false},
		{"a whole path", tar.Header{Typeflag: tar.TypeReg, Name: "/a"}, false},
		{"an unknown type", tar.Header{Typeflag: 'X', Name: "a"}, false},
	} {
		if c.h.ModTime.IsZero() {
			c.h.ModTime = now
		}
		var p plain
		p.add(&c.h)
		if got := p.not == ""; got != c.plain {
			t.Errorf("%s: plain %v (%s), want %v", c.name, got, p.not, c.plain)
		}
	}
}
