package command

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// terminfoDirs are where programs look for terminals (terminfo(5)), beside
// ~/.terminfo.
var terminfoDirs = []string{"/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo", "/usr/lib/terminfo"}

// knownTerminals stand for terminals that an image does not know, the best first.
// Terminals of today understand them.
var knownTerminals = []string{"xterm-256color", "xterm"}

// knownTerminal returns term if one of dirs describes it, and else one that is
// described there. An image that describes none has no program that would look.
func knownTerminal(term string, dirs []string) string {
	i := slices.IndexFunc(append([]string{term}, knownTerminals...), func(t string) bool { return describes(dirs, t) })
	if i < 1 {
		return term
	}
	return knownTerminals[i-1]
}

// describes reports whether one of dirs has a terminal's description, in a directory
// that is named by the first letter or its number.
func describes(dirs []string, term string) bool {
	if term == "" || strings.ContainsAny(term, "/\x00") || term[0] == '.' {
		return false
	}
	for _, dir := range dirs {
		for _, letter := range []string{term[:1], fmt.Sprintf("%x", term[0])} {
			if fi, err := os.Stat(filepath.Join(dir, letter, term)); err == nil && fi.Mode().IsRegular() {
				return true
			}
		}
	}
	return false
}
