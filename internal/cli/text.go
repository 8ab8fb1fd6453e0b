package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
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

// cleanWriter cleans whole lines on their way to a terminal.
type cleanWriter struct {
	w    io.Writer
	line []byte
}

// maxLine is where a line without an end is cut, in bytes.
const maxLine = 16 << 10

func (c *cleanWriter) Write(p []byte) (int, error) {
	for _, b := range p {
		if b == '\n' || len(c.line) >= maxLine {
			if err := c.Flush(); err != nil {
				return 0, err
			}
			if b == '\n' {
				continue
			}
		}
		c.line = append(c.line, b)
	}
	return len(p), nil
}

// Flush writes what is left of a last line.
func (c *cleanWriter) Flush() error {
	text := strings.TrimSuffix(string(c.line), "\r")
	c.line = c.line[:0]
	_, err := fmt.Fprintln(c.w, clean(text))
	return err
}

func (a *app) json(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return a.write("%s\n", text)
}

// bytesText is a size in the unit that a person would use.
func bytesText(n int64) string {
	f := float64(n)
	for _, unit := range []string{"B", "KiB", "MiB"} {
		if f < 1024 {
			return fmt.Sprintf("%.4g %s", f, unit)
		}
		f /= 1024
	}
	return fmt.Sprintf("%.4g GiB", f)
}

// age is a time ago, in the largest unit that says enough.
func age(t time.Time) string {
	d := time.Since(t)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
