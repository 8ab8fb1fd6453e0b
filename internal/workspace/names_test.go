package workspace

import (
	"bufio"
	"bytes"
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

// What is no git directory is none in another case, and with what a file system drops.
func FuzzIsDotGit(f *testing.F) {
	for _, name := range []string{".git", "GIT~1", ".g\u200cit", ".git::$INDEX_ALLOCATION", ".git. .", ".gitmodules", "\xff.git", "\ufffd.git"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		is := IsDotGit(name)
		for _, other := range []string{strings.ToUpper(name), name + ".", name + " ", name + ":x", "\u200d" + name, name + "\ufeff"} {
			if is && !IsDotGit(other) {
				t.Errorf("%q is a git directory, and %q is not", name, other)
			}
		}
		if lower := strings.ToLower(name); !is && (lower == ".git" || strings.HasPrefix(lower, ".git:") || strings.HasPrefix(lower, `.git\`)) {
			t.Errorf("%q is no git directory", name)
		}
	})
}

// What is inspected before an apply: a risk does not go away by another case, or by
// being deeper.
func FuzzRisk(f *testing.F) {
	for _, name := range []string{".vscode/tasks.json", "a/.husky/x", ".envrc", "Makefile", ".git/hooks/x", "\xff/.claude/x", ".github/workflows/ci.yml"} {
		f.Add([]byte(name), uint32(modeFile), uint32(0))
	}
	f.Add([]byte("x"), uint32(modeExec), uint32(modeFile))
	f.Add([]byte("l"), uint32(modeLink), uint32(0))
	f.Fuzz(func(t *testing.T, path []byte, mode, before uint32) {
		c := Change{Path: path, OldMode: before, NewMode: mode}
		why := risk(c)
		if mode == 0 && why != "" || mode != 0 && why == "" && (mode == modeLink || mode == modeGitlink || mode == modeExec) {
			t.Errorf("the risk of %+v is %q", c, why)
		}
		if why == "" || mode == 0 {
			return
		}
		if deeper := (Change{Path: append([]byte("deeper/"), path...), OldMode: before, NewMode: mode}); risk(deeper) == "" {
			t.Errorf("the risk of %+v is %q, and deeper none", c, why)
		}
	})
}

// What git lists of an index is read, or refused.
func FuzzReadEntry(f *testing.F) {
	f.Add([]byte("100644 1234567890123456789012345678901234567890 0\ta\x00  ctime: 1:2\n  mtime: 3:4\n  dev: 5\tino: 6\n  uid: 7\tgid: 8\n  size: 9\tflags: 0\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := readEntry(bufio.NewReader(bytes.NewReader(text)))
		if err == nil && (len(e.Path) == 0) {
			t.Errorf("%q is read as %+v", text, e)
		}
	})
}
