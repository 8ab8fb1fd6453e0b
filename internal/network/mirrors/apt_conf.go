package mirrors

import (
	"fmt"
	"strings"
)

// maxDepth bounds blocks in blocks of apt.conf.
const maxDepth = 32

// parseAptConf reads apt.conf(5): names in parts joined by "::", values in quotes,
// blocks, comments. Names come in lower case. Lists are pairs of the same name;
// directives (#include, #clear) are left out. An error leaves what was read before it.
func parseAptConf(text string) (out []pair, err error) {
	tokens, err := aptTokens(text)
	var blocks []string
	name := ""
	pending, value := false, ""
	flush := func() {
		if pending {
			out = append(out, pair{strings.Trim(strings.ToLower(join(blocks, name)), ":"), value})
		}
		name, value, pending = "", "", false
	}
	for _, t := range tokens {
		switch {
		case t.quoted:
			value, pending = value+t.text, true
		case t.text == "{":
			if len(blocks) >= maxDepth {
				return out, fmt.Errorf("more than %d blocks in one another", maxDepth)
			}
			pending = false
			blocks, name = append(blocks, name), ""
		case t.text == "}":
			flush()
			if len(blocks) == 0 {
				return out, fmt.Errorf("line %d: no block begins before this end", t.line)
			}
			blocks = blocks[:len(blocks)-1]
		case t.text == ";":
			flush()
		case name == "":
			name = t.text
		default: // a value without quotes
			value, pending = value+t.text, true
		}
	}
	flush()
	if err == nil && len(blocks) > 0 {
		err = fmt.Errorf("a block has no end")
	}
	return out, err
}

func join(blocks []string, name string) string {
	var b strings.Builder
	for _, p := range append(blocks, name) {
		if p = strings.Trim(p, ":"); p != "" {
			b.WriteString("::" + p)
		}
	}
	return b.String()
}

type aptToken struct {
	text   string
	quoted bool
	line   int
}

// maxName bounds a name of apt.conf, in bytes.
const maxName = 1000

// aptTokens splits the text; a directive is left out with its line.
func aptTokens(text string) (out []aptToken, err error) {
	line := 1
	for i := 0; i < len(text); {
		rest := text[i:]
		n := 1
		switch c := text[i]; {
		case strings.HasPrefix(rest, "//") || c == '#':
			n = until(rest, "\n")
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest, "*/")
			if end < 0 {
				return out, fmt.Errorf("line %d: a comment has no end", line)
			}
			n = end + 2
		case c == '"':
			end := strings.IndexByte(rest[1:], '"')
			if end < 0 {
				return out, fmt.Errorf("line %d: a quote has no end", line)
			}
			n = end + 2
			out = append(out, aptToken{rest[1 : end+1], true, line})
		case c == '{' || c == '}' || c == ';':
			out = append(out, aptToken{string(c), false, line})
		case c <= ' ':
		default:
			if n = strings.IndexFunc(rest, func(c rune) bool { return c <= ' ' || strings.ContainsRune(`{};"`, c) }); n < 0 {
				n = len(rest)
			}
			if n > maxName {
				return out, fmt.Errorf("line %d: a name of more than %d bytes", line, maxName)
			}
			out = append(out, aptToken{rest[:n], false, line})
		}
		line += strings.Count(rest[:n], "\n")
		i += n
	}
	return out, nil
}

// until is the length of s before sep, or of s.
func until(s, sep string) int {
	if i := strings.Index(s, sep); i >= 0 {
		return i
	}
	return len(s)
}
