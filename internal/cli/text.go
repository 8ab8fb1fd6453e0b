package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"banger/internal/vm"
)

// clean makes text of a guest or a record fit for a terminal: control
// characters and broken UTF-8 are written as escapes.
func clean(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\t' || unicode.IsPrint(r):
			b.WriteString(s[i : i+n])
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		i += n
	}
	return b.String()
}

// cleanWriter cleans what passes through to a terminal; lines stay lines, and
// the carriage returns of a console's line ends are dropped. What is not
// complete at the end of a Write waits for the next one or Flush.
type cleanWriter struct {
	w       io.Writer
	rest    []byte // the beginning of a character
	returns int    // carriage returns that a line end may follow
}

// maxReturns is how many carriage returns a line end has at most: systemd's has
// one and the terminal's another.
const maxReturns = 8

func (c *cleanWriter) Write(p []byte) (int, error) {
	text := append(c.rest, p...)
	n := len(text) - unfinished(text)
	c.rest = slices.Clone(text[n:])
	_, err := io.WriteString(c.w, c.clean(string(text[:n])))
	return len(p), err
}

// Flush writes what is left.
func (c *cleanWriter) Flush() error {
	text := c.clean(string(c.rest)) + strings.Repeat(clean("\r"), c.returns)
	c.rest, c.returns = nil, 0
	_, err := io.WriteString(c.w, text)
	return err
}

func (c *cleanWriter) clean(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		n := strings.IndexAny(text, "\r\n")
		if n < 0 {
			n = len(text)
		}
		if n > 0 {
			b.WriteString(strings.Repeat(clean("\r"), c.returns) + clean(text[:n]))
			c.returns = 0
		}
		switch text = text[n:]; {
		case text == "":
		case text[0] == '\n':
			c.returns = 0
			b.WriteByte('\n')
			text = text[1:]
		case c.returns == maxReturns:
			b.WriteString(clean("\r"))
			text = text[1:]
		default:
			c.returns++
			text = text[1:]
		}
	}
	return b.String()
}

// unfinished is how many bytes at the end of p are the beginning of a
// character.
func unfinished(p []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if b := p[len(p)-n]; utf8.RuneStart(b) {
			if b >= utf8.RuneSelf && !utf8.FullRune(p[len(p)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}

// json prints v. Control characters that JSON allows in a string are escaped.
func (a *app) json(v any) error {
	text, err := jsonText(v)
	if err != nil {
		return err
	}
	return a.write("%s", text)
}

// jsonText is v as JSON, with a newline at its end.
func jsonText(v any) (string, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	return escapeJSON(text) + "\n", err
}

// escapeJSON escapes what a terminal would not only print.
func escapeJSON(text []byte) string {
	var b strings.Builder
	for _, r := range string(text) {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default: // in a string: nowhere else does JSON have such a character
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// table prints what write writes, columns apart by tabs, in aligned columns.
func (a *app) table(write func(w io.Writer)) error {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	write(w)
	w.Flush() // into memory
	return a.write("%s", b.Bytes())
}

// moment is a time as the user's clock shows it.
func moment(t time.Time) string { return t.Local().Format(time.DateTime) }

// bytesText is a size in the unit that a person would use.
func bytesText(n int64) string { return vm.FormatBytes(n) }

// age is how long ago t was.
func age(t time.Time) string { return span(time.Since(t)) }
