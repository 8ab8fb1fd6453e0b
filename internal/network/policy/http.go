package policy

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// readHTTP reads the header of a request of HTTP/1 (RFC 9112) as lenient servers read
// it: empty lines and spaces before it, any method, LF without CR. What servers read in
// different ways is broken.
func readHTTP(b []byte) Said {
	b = bytes.TrimLeft(b, "\r\n \t\v\f")
	line, rest, whole := bytes.Cut(b, []byte("\n"))
	if !methodLike(line) || bytes.IndexByte(line, 0) >= 0 {
		return Said{Kind: Other, Complete: true}
	}
	if !whole {
		return Said{}
	}
	words := bytes.FieldsFunc(line, func(r rune) bool { return r <= ' ' })
	if len(words) < 2 {
		return Said{Kind: Other, Complete: true}
	}
	s := Said{Kind: HTTP}
	target := string(words[1])
	if !slices.ContainsFunc(words[1:], isVersion) {
		// HTTP/0.9 has no version and no header.
		simple := strings.EqualFold(string(words[0]), "GET") && (target[0] == '/' || strings.Contains(target, "://"))
		if !simple {
			s.Kind = Other
		}
		s.Complete = true
		return s
	}
	if len(words) != 3 || !isVersion(words[2]) || controls(line) {
		return s.broken("its first line is not METHOD TARGET VERSION")
	}
	authority := ""
	scheme, after, absolute := strings.Cut(target, "://")
	path := target[0] == '/' || target == "*"
	switch {
	case strings.EqualFold(string(words[0]), "CONNECT"):
		authority, scheme, path = target, "", false
	case path:
	case absolute && strings.Trim(strings.ToLower(scheme), "abcdefghijklmnopqrstuvwxyz") == "":
		authority = after[:strings.IndexAny(after+"/", "/?#")]
		if !strings.Contains(authority, `\`) { // a browser's parser takes it for a slash
			authority = authority[strings.LastIndexByte(authority, '@')+1:]
		}
	default:
		return s.broken("its target is neither a path nor a URL")
	}
	var names []string
	if !path {
		if withoutPort(authority) == "" { // a browser's parser looks for the host behind more slashes
			return s.broken("its target has no host")
		}
		names, s.Asked = []string{authority}, portOf(authority, scheme)
	}
	hosts, done, why := hostLines(rest)
	if why != "" {
		return s.broken(why)
	}
	for _, n := range append(names, hosts...) {
		if n != "" {
			s.Names = append(s.Names, withoutPort(n))
		}
	}
	s.Complete = done
	return s
}

// portOf is the port of HOST:PORT, else the scheme's; 0 if there is none.
func portOf(authority, scheme string) uint16 {
	if text := authority[len(withoutPort(authority)):]; text != "" {
		n, err := strconv.ParseUint(strings.TrimPrefix(text, ":"), 10, 16)
		if err != nil {
			return 0
		}
		return uint16(n)
	}
	return map[string]uint16{"http": 80, "https": 443}[strings.ToLower(scheme)]
}

// methodLike says whether a line may begin with a method (RFC 9110 §9.1): a token, then a
// space as lenient servers take it (RFC 9112 §3), as far as the line is there.
func methodLike(line []byte) bool {
	for i, c := range line { // of any length: servers differ
		switch {
		case c == ' ' || c == '\t' || c == '\v' || c == '\f':
			return i > 0
		case c == '\r':
			return false
		case !tokenByte(c):
			return false
		}
	}
	return true
}

func tokenByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isVersion(word []byte) bool {
	return len(word) > 5 && strings.EqualFold(string(word[:5]), "HTTP/")
}

// controls says whether a line has control characters but tabs and the CR at its end.
func controls(line []byte) bool {
	return bytes.ContainsFunc(bytes.TrimSuffix(line, []byte("\r")), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// bareCR says whether a line has a CR that does not end it: some servers end a line there.
func bareCR(line []byte) bool {
	i := bytes.IndexByte(line, '\r')
	return i >= 0 && i != len(line)-1
}

// hostLines are the values of a header's Host lines. Done says whether the header ends.
func hostLines(b []byte) (hosts []string, done bool, why string) {
	host := false // the last line was one
	for {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		if !whole {
			return hosts, false, ""
		}
		b = rest
		if bareCR(line) || bytes.IndexByte(line, 0) >= 0 {
			return nil, false, "its header has a line that ends in the middle"
		}
		text := strings.TrimRight(string(line), "\r")
		if text == "" {
			return hosts, true, ""
		}
		name, value, _ := strings.Cut(text, ":")
		folded := text[0] == ' ' || text[0] == '\t'
		if folded && host {
			return nil, false, "its Host goes on in the next line"
		}
		host = strings.EqualFold(strings.TrimSpace(name), "host")
		if host {
			hosts = append(hosts, strings.TrimSpace(value))
		}
	}
}

// withoutPort cuts :PORT off; what is not a port stays, and makes it no name.
func withoutPort(s string) string {
	i := strings.LastIndexByte(s, ':')
	if i >= 0 && strings.Trim(s[i+1:], "0123456789") == "" {
		return s[:i]
	}
	return s
}
