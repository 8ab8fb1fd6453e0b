package program

import (
	"testing"

	"pgregory.net/rapid"
)

func TestTailKeepsTheEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		max := rapid.IntRange(1, 20).Draw(t, "max")
		tail := NewTail(max)
		var all string
		for _, s := range rapid.SliceOf(rapid.StringN(0, 30, 60)).Draw(t, "writes") {
			if n, err := tail.Write([]byte(s)); n != len(s) || err != nil {
				t.Fatalf("Write(%q) = %d, %v", s, n, err)
			}
			all += s
		}
		if want := all[len(all)-min(max, len(all)):]; tail.String() != want {
			t.Fatalf("String() = %q, want the last %d bytes %q", tail.String(), max, want)
		}
	})
}
