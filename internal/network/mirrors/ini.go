package mirrors

import (
	"fmt"
	"strings"
)

// parseNPM reads the ini format of npmrc: keys and values, values in quotes, comments
// of ; and #, names of sections. A key of a section gets the section's name and a dot.
func parseNPM(text string) (out []pair) {
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == ';' || line[0] == '#' {
			continue
		}
		if line[0] == '[' && line[len(line)-1] == ']' {
			section = line[1:len(line)-1] + "."
			continue
		}
		k, v, _ := strings.Cut(line, "=")
		out = append(out, pair{section + unquote(strings.TrimSpace(k)), unquote(uncomment(strings.TrimSpace(v)))})
	}
	return out
}

// uncomment takes the comment off a value that is not in quotes.
func uncomment(v string) string {
	if v == "" || v[0] == '"' || v[0] == '\'' {
		return v
	}
	if i := strings.IndexAny(v, ";#"); i >= 0 {
		v = v[:i]
	}
	return strings.TrimSpace(v)
}

// unquote takes one pair of quotes off.
func unquote(v string) string {
	if n := len(v); n > 1 && (v[0] == '"' || v[0] == '\'') && v[n-1] == v[0] {
		return v[1 : n-1]
	}
	return v
}

// parsePip reads the ini format of pip.conf, that of Python's RawConfigParser: lines
// that begin with a blank go on with the value, and nothing is interpolated. Keys of
// all sections count, because a section is a command of pip's.
func parsePip(text string) (out []pair, err error) {
	section := false
	open := -1 // the pair that a line may go on with
	n := 0
	for line := range strings.Lines(text) {
		n++
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || trimmed[0] == '#' || trimmed[0] == ';' {
			continue
		}
		switch {
		case open >= 0 && (line[0] == ' ' || line[0] == '\t'):
			out[open].value += "\n" + trimmed
			continue
		case trimmed[0] == '[' && strings.Contains(trimmed, "]"):
			section, open = true, -1
			continue
		case !section:
			return out, fmt.Errorf("line %d: a key before the first section", n)
		}
		i := strings.IndexAny(trimmed, "=:")
		if i < 0 {
			return out, fmt.Errorf("line %d: neither a section nor a key and a value", n)
		}
		k := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(trimmed[:i])), "_", "-")
		out = append(out, pair{k, strings.TrimSpace(trimmed[i+1:])})
		open = len(out) - 1
	}
	return out, nil
}
