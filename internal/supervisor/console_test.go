package supervisor

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"banger/internal/paths"
)

func TestConsoleLogIsBounded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, paths.ConsoleFile)
	l, err := openConsoleLog(path)
	if err != nil {
		t.Fatal(err)
	}
	line := bytes.Repeat([]byte("x"), 1023)
	line = append(line, '\n')
	for range 3 * ConsoleLimit / len(line) {
		l.Write(line)
	}
	l.Write([]byte("the last\n"))
	l.Close()
	var out bytes.Buffer
	if err := CopyConsole(&out, dir); err != nil {
		t.Fatal(err)
	}
	if n := out.Len(); n > ConsoleLimit || n < ConsoleLimit/2 {
		t.Errorf("the log keeps %d bytes, want between %d and %d", n, ConsoleLimit/2, ConsoleLimit)
	}
	if !strings.HasSuffix(out.String(), "the last\n") {
		t.Error("the newest bytes are not at the end")
	}
	files, _ := os.ReadDir(dir)
	if len(files) != 2 {
		t.Errorf("the log has %d files, want 2", len(files))
	}
}

func TestConsoleLogIsFollowedThroughItsRotation(t *testing.T) {
	l, err := openConsoleLog(filepath.Join(t.TempDir(), paths.ConsoleFile))
	if err != nil {
		t.Fatal(err)
	}
	l.Write([]byte("before\n"))
	var out bytes.Buffer
	var following sync.WaitGroup
	following.Go(func() { // ends with the log
		if err := l.Follow(context.Background(), &out, false); err != nil {
			t.Errorf("Follow: %v", err)
		}
	})
	chunk := bytes.Repeat([]byte("y"), 64<<10)
	for range ConsoleLimit / 2 / len(chunk) {
		l.Write(chunk)
	}
	l.Write([]byte("after\n"))
	l.Close()
	following.Wait()
	if s := out.String(); !strings.HasPrefix(s, "before\n") || !strings.HasSuffix(s, "after\n") || len(s) != 7+ConsoleLimit/2+6 {
		t.Errorf("Follow gave %d bytes, %.10q … %q", len(s), s, s[max(0, len(s)-10):])
	}
}

func TestLastLines(t *testing.T) {
	raw := []byte("one\r\n\x1b[31mred\x1b[0m\r\n\r\n" + strings.Repeat("l", 300) + "\nend \"q\" \xff\n")
	want := []string{"one", `\x1b[31mred\x1b[0m`, strings.Repeat("l", 200) + "…", `end "q" \xff`}
	if d := cmp.Diff(want, lastLines(raw)); d != "" {
		t.Errorf("lastLines (-want +got):\n%s", d)
	}
	if n := len(lastLines([]byte(strings.Repeat("a\n", 100)))); n != maxLines {
		t.Errorf("lastLines of 100 lines gave %d, want %d", n, maxLines)
	}
}

func FuzzLastLines(f *testing.F) {
	f.Add([]byte("a\r\n\x1b]0;t\x07b"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, l := range lastLines(raw) {
			for _, c := range l {
				if c < 0x20 || c == 0x7f || (c >= 0x80 && c < 0xa0) {
					t.Fatalf("lastLines(%q) let %q through", raw, c)
				}
			}
		}
		panicAtEnd(raw)
	})
}
