package exec

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRequestArrivesByteForByte(t *testing.T) {
	want := Request{
		Argv: [][]byte{[]byte("sh"), []byte("a b"), {}, []byte("\xff\x00$'\"\n"), bytes.Repeat([]byte("x"), 100<<10)},
		Env:  Args("A=\xfe"), Dir: []byte("/\xfd"), TTY: true, Size: Size{24, 80},
	}
	var b bytes.Buffer
	if err := NewWriter(&b).WriteRequest(want); err != nil {
		t.Fatal(err)
	}
	got, err := NewReader(&b).ReadRequest()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("request (-want +got):\n%s", d)
	}
}

func TestCopyEndsWithAnEmptyFrame(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	var b bytes.Buffer
	if err := NewWriter(&b).Copy(TypeStdout, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	var got []byte
	r := NewReader(&b)
	for {
		typ, p, err := r.Next()
		if err != nil || typ != TypeStdout {
			t.Fatalf("Next = %q, %v", typ, err)
		}
		if len(p) == 0 {
			break
		}
		got = append(got, p...)
	}
	if !bytes.Equal(got, data) {
		t.Errorf("got %d bytes, want %d the same", len(got), len(data))
	}
	if _, _, err := r.Next(); err != io.EOF {
		t.Errorf("after the end: %v, want EOF", err)
	}
}

func TestExitCode(t *testing.T) {
	for s, want := range map[Status]int{
		{Kind: Exited, Code: 42}: 42, {Kind: Exited}: 0, {Kind: Signalled, Signal: 9}: 137,
		{Kind: NotFound}: 127, {Kind: NotExecutable}: 126, {Kind: Failed}: 125,
		{Kind: Signalled, Signal: 9, OutOfMemory: 1}: 137, {Kind: Exited, Code: 2, OutOfMemory: 3}: 2,
	} {
		if got := s.ExitCode(); got != want {
			t.Errorf("%+v: exit code %d, want %d", s, got, want)
		}
		var b bytes.Buffer
		NewWriter(&b).WriteStatus(s)
		_, p, _ := NewReader(&b).Next()
		if back, err := ParseStatus(p); err != nil || back != s {
			t.Errorf("status came back as %+v, %v; want %+v", back, err, s)
		}
	}
}

func TestTooMuchIsRefused(t *testing.T) {
	w := NewWriter(io.Discard)
	if err := w.Write(TypeStdin, make([]byte, MaxData+1)); err == nil {
		t.Error("a frame over the limit was sent")
	}
	if err := w.WriteRequest(Request{Argv: [][]byte{make([]byte, MaxRequest)}}); err == nil {
		t.Error("a request over the limit was sent")
	}
	if _, _, err := NewReader(bytes.NewReader([]byte{'o', 0, 1})).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut header: %v", err)
	}
}

func FuzzReader(f *testing.F) {
	var b bytes.Buffer
	w := NewWriter(&b)
	w.WriteRequest(Request{Argv: Args("true")})
	w.Write(TypeStdin, []byte("x"))
	w.WriteResize(Size{1, 2})
	w.WriteStatus(Status{Kind: Exited, Code: 3})
	f.Add(b.Bytes())
	f.Add([]byte{'o', 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewReader(bytes.NewReader(in))
		r.ReadRequest()
		for {
			typ, p, err := r.Next()
			if err != nil {
				return
			}
			switch typ {
			case TypeExit:
				if s, err := ParseStatus(p); err == nil {
					if c := s.ExitCode(); c < 0 || c > 255 {
						t.Fatalf("%+v has exit code %d", s, c)
					}
				}
			case TypeResize:
				ParseResize(p)
			}
		}
	})
}
