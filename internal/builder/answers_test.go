package builder

import (
	"fmt"
	"strings"
	"testing"
)

// What a guest answers comes in pieces of any size, and is bounded.
func TestAnswers(t *testing.T) {
	const whole = `{"read":5}` + "\n" + `{"read":7}` + "\n" + `{"final":true,"entries":3,"bytes":4}` + "\n"
	for size := 1; size <= len(whole); size++ {
		var read []int64
		a := answers{each: func(n int64) { read = append(read, n) }}
		for at := 0; at < len(whole); at += size {
			if _, err := a.Write([]byte(whole[at:min(at+size, len(whole))])); err != nil {
				t.Fatal(err)
			}
		}
		if fmt.Sprint(read) != "[5 7]" || !a.last.Final || a.last.Entries != 3 || a.last.Bytes != 4 || len(a.line) > 0 {
			t.Errorf("in pieces of %d: read %v, last %+v, left %q", size, read, a.last, a.line)
		}
	}
	for text, want := range map[string]string{
		"panic: x\n":                            `its agent says "panic: x"`,
		strings.Repeat("x", maxAnswer+1):        "longer than",
		"{}\n" + strings.Repeat("\x1b", 100000): "longer than",
	} {
		a := answers{each: func(int64) {}}
		if _, err := a.Write([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Write(%.20q) = %v, want %q", text, err, want)
		}
	}
}
