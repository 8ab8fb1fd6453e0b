package qemu

import (
	"testing"

	"pgregory.net/rapid"
)

func TestTailKeepsTheEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		max := rapid.IntRange(1, 20).Draw(t, "max")
		tail := newTail(max)
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

func TestLastWords(t *testing.T) {
	args := []string{"-blockdev", `{"a":1}`, "-m", "1M"}
	for stderr, want := range map[string]string{
		"":                                   "",
		"qemu-system-x86_64: warning: odd\n": "",
		"qemu-system-x86_64: -blockdev {\"a\":1}: Could not open '/x': No such file\n":    "Could not open '/x': No such file",
		"qemu-system-x86_64: Failed to get lock\nIs another process using [/x]?\n":        "Failed to get lock: Is another process using [/x]?",
		"qemu: could not load kernel '/k'\n":                                              "could not load kernel '/k'",
		"first\nqemu-system-x86_64: second\n\nqemu-system-x86_64: warning: host\n":        "second",
		"qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory": "cannot set up guest memory 'pc.ram': Cannot allocate memory",
	} {
		if got := lastWords(stderr, "/usr/bin/qemu-system-x86_64", args); got != want {
			t.Errorf("lastWords(%q) = %q, want %q", stderr, got, want)
		}
	}
}
