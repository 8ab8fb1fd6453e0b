package workspace

import (
	"strings"
	"testing"
)

// What no file system may take for a git directory, and what it may.
func TestIsDotGit(t *testing.T) {
	for name, want := range map[string]bool{
		".git": true, ".GIT": true, "git~1": true, "GIT~1": true, ".git ": true, ".git.": true, ".git. .": true, ".git::$INDEX_ALLOCATION": true,
		".g\u200cit": true, "\u200e.git": true, ".git\u206f": true, ".gi\ufefft": true, ".git\\x": true,
		".gitignore": false, ".gitmodules": false, "git": false, "git~2": false, "x.git": false, "..git": false, "": false, ".github": false,
	} {
		if got := IsDotGit(name); got != want {
			t.Errorf("IsDotGit(%q) = %v, want %v", name, got, want)
		}
	}
}

func FuzzBadPath(f *testing.F) {
	for _, c := range hostileTrees {
		for _, e := range c.entries {
			_, name, _ := strings.Cut(e, " ")
			f.Add([]byte(name))
		}
	}
	f.Fuzz(func(t *testing.T, path []byte) {
		if badPath(path) != "" {
			return
		}
		for part := range strings.SplitSeq(string(path), "/") {
			if part == "" || part == "." || part == ".." || strings.EqualFold(part, ".git") || strings.EqualFold(strings.TrimRight(part, " ."), ".git") {
				t.Errorf("%q is taken", path)
			}
		}
	})
}

func FuzzIsBranch(f *testing.F) {
	f.Add("refs/heads/main")
	f.Add("refs/heads/a/b.lock")
	f.Fuzz(func(t *testing.T, name string) {
		if isBranch([]byte(name)) && (strings.Contains(name, "..") || strings.ContainsAny(name, "\x00\n ~^:?*[\\") || !strings.HasPrefix(name, "refs/heads/")) {
			t.Errorf("%q is taken", name)
		}
	})
}
