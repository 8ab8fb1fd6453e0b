package wire

import (
	"bufio"
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEntries(t *testing.T) {
	want := []Entry{
		{Path: []byte("a"), Mode: 0o100644, ID: bytes.Repeat([]byte{1}, 20), Bits: Same},
		{Path: []byte("\xff\n"), Mode: 0o120000, ID: bytes.Repeat([]byte{2}, 32), Stage: 3, Bits: IntentToAdd | SkipWorktree},
	}
	var b bytes.Buffer
	if err := WriteEntries(&b, want); err != nil {
		t.Fatal(err)
	}
	var got []Entry
	if err := ReadEntries(&b, func(e Entry) error { got = append(got, e); return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := WriteEntries(&b, []Entry{{Path: bytes.Repeat([]byte("x"), maxPath+1)}}); err == nil {
		t.Error("WriteEntries took a path that is too long")
	}
}

// What ReadEntries takes, WriteEntries writes again.
func FuzzReadEntries(f *testing.F) {
	var b bytes.Buffer
	WriteEntries(&b, []Entry{{Path: []byte("a/b"), Mode: 0o100755, ID: make([]byte, 20), Stage: 1, Bits: AssumeUnchanged}})
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		var list []Entry
		if ReadEntries(bytes.NewReader(in), func(e Entry) error { list = append(list, e); return nil }) != nil {
			return
		}
		var out bytes.Buffer
		if err := WriteEntries(&out, list); err != nil || !bytes.Equal(out.Bytes(), in) {
			t.Errorf("%x is read as %v and written as %x, %v", in, list, out.Bytes(), err)
		}
	})
}

func FuzzReadJSON(f *testing.F) {
	f.Add([]byte(`{"tree":"1","refs":[{"name":"YQ==","id":"2"}]}` + "\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var r Report
		ReadJSON(bufio.NewReader(bytes.NewReader(in)), &r)
	})
}
