package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain, é, 漢\t.":           "plain, é, 漢\t.",
		"\x1b[31mred\x1b[0m":       `\x1b[31mred\x1b[0m`,
		"\x1b]0;title\a":           `\x1b]0;title\x07`,
		"a\nb\rc\x00d\x7f":         `a\x0ab\x0dc\x00d\x7f`,
		"csi \u009b31m":            `csi \x9b31m`,
		"right to left \u202eevil": `right to left \u202eevil`,
		"broken \xff\xc3":          `broken \xff\xc3`,
		"\u2028line":               `\u2028line`,
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

// harmless reports whether a terminal only prints s.
func harmless(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return r != '\t' && !unicode.IsPrint(r) }) < 0
}

// FuzzClean: nothing that reaches a terminal does anything to it, and how a
// guest's output is cut into pieces changes nothing.
func FuzzClean(f *testing.F) {
	f.Add([]byte("line\r\n\x1b[31mred\n漢\xff\r"), 3)
	f.Add([]byte("\r\r\n\xe6\xbc"), 1)
	f.Add([]byte("\r\r\r\r\r\r\r\r\r\r\n"), 3)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		if got := clean(string(in)); !harmless(got) {
			t.Fatalf("clean(%q) = %q, which is not harmless", in, got)
		}
		write := func(size int) string {
			var b bytes.Buffer
			w := &cleanWriter{w: &b}
			for rest := in; len(rest) > 0; {
				n := min(size, len(rest))
				if m, err := w.Write(rest[:n]); m != n || err != nil {
					t.Fatalf("Write = %d, %v; want %d", m, err, n)
				}
				rest = rest[n:]
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			return b.String()
		}
		whole, pieces := write(len(in)+1), write(max(cut%17, 1))
		if whole != pieces {
			t.Fatalf("%q in pieces of %d gives\n%q\nwant\n%q", in, max(cut%17, 1), pieces, whole)
		}
		for l := range strings.Lines(whole) {
			if !harmless(strings.TrimSuffix(l, "\n")) {
				t.Fatalf("%q gives the line %q, which is not harmless", in, l)
			}
		}
	})
}

func TestCleanWriterIsLive(t *testing.T) {
	var b bytes.Buffer
	w := &cleanWriter{w: &b}
	w.Write([]byte("dev login: "))
	if got, want := b.String(), "dev login: "; got != want {
		t.Errorf("a line without an end shows as %q, want %q", got, want)
	}
	w.Write([]byte("\r\nnext \xe6\xbc"))
	if got, want := b.String(), "dev login: \nnext "; got != want {
		t.Errorf("a cut character shows as %q, want %q", got, want)
	}
	w.Write([]byte("\xa2\r\r"))
	if got, want := b.String(), "dev login: \nnext 漢"; got != want {
		t.Errorf("then %q, want %q", got, want)
	}
	w.Write([]byte("\n\r\r\rx\r"))
	w.Flush()
	if got, want := b.String(), "dev login: \nnext 漢\n"+`\x0d\x0d\x0dx\x0d`; got != want {
		t.Errorf("then %q, want %q", got, want)
	}
}

// JSON that goes to a terminal is as harmless, and says the same.
func TestJSON(t *testing.T) {
	in := map[string]string{"text": "é 漢 \x1b[31m \u009b \u202e \U000e0001 < > & \n \x7f"}
	a, o := newApp(t)
	if err := a.json(in); err != nil {
		t.Fatal(err)
	}
	got := o.stdout()
	if !harmless(strings.ReplaceAll(got, "\n", "")) {
		t.Errorf("json wrote %q, which is not harmless", got)
	}
	var back map[string]string
	if err := json.Unmarshal([]byte(got), &back); err != nil || back["text"] != in["text"] {
		t.Errorf("json wrote %q, which reads back as %q, %v; want %q", got, back["text"], err, in["text"])
	}
}

func TestUnits(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1 << 20: "1 MiB", 3<<30 + 1<<29: "3.5 GiB", 5000 << 30: "5000 GiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("bytesText(%d) = %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{3 * time.Second: "3s", 3 * time.Minute: "3m", 47 * time.Hour: "47h", 72 * time.Hour: "3d", -time.Hour: "0s"} {
		if got := age(time.Now().Add(-d)); got != want {
			t.Errorf("age of %v = %q, want %q", d, got, want)
		}
	}
}
