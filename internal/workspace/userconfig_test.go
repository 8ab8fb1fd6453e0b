package workspace

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// Who commits is who the user is in this repository, as their configuration says.
func TestConditionalInclude(t *testing.T) {
	user(t)
	dir := t.TempDir()
	sh(t, dir, `git init -q work/repo; cd work/repo; echo 1 >f; git add .; git commit -qm one
		git config -f ~/work.config user.email work@example.org; git config --global "includeIf.gitdir:$PWD/../.path" ~/no.config; git config --global "includeIf.gitdir:$(dirname $PWD)/.path" work.config
		git config -f ~/work.config includeIf.onbranch:ma*.path branch.config; git config -f ~/branch.config user.name M`)
	p := plan(t, filepath.Join(dir, "work/repo"), Options{})
	_, tree := send(t, p)
	const who = "git config user.name; git config user.email"
	if got, want := sh(t, tree, who), sh(t, filepath.Join(dir, "work/repo"), who); got != want || got != "M\nwork@example.org\n" {
		t.Errorf("the guest commits as %q, the host as %q", got, want)
	}
}

// A condition on a directory holds as it does for the user's git: by the path without links,
// and by that of a link if the user came by it.
func TestConditionalIncludeThroughLink(t *testing.T) {
	user(t)
	dir := t.TempDir()
	sh(t, dir, `mkdir real; ln -s real link; git init -q real/repo; mkdir real/repo/sub; cd real/repo; echo 1 >f; git add .; git commit -qm one`)
	for _, place := range []string{"real/repo", "link/repo", "real/repo/sub", "link/repo/sub"} {
		for _, condition := range []string{dir + "/link/", dir + "/real/", "link/", "./link/", "./real/**", "/nowhere/"} {
			t.Run(condition+" from "+place, func(t *testing.T) {
				user(t)
				// The file lies behind a link too, as those of dotfiles do.
				sh(t, dir, fmt.Sprintf(`rm -rf 'dot[s]'; mkdir 'dot[s]'; ln -s "$PWD"/real "$PWD"/link 'dot[s]'; mv ~/.gitconfig 'dot[s]/gitconfig'; ln -s "$PWD/dot[s]/gitconfig" ~/.gitconfig
					git config --global 'includeIf.gitdir:%s.path' %s/other.config; git config -f other.config user.email other@example.org`, condition, dir))
				t.Chdir(filepath.Join(dir, place))
				r, err := Open(t.Context(), ".", "")
				if err != nil {
					t.Fatal(err)
				}
				got, _ := r.all().last("user.email")
				if want := strings.TrimSpace(sh(t, "", "cd "+filepath.Join(dir, place)+"; git config user.email")); got != want {
					t.Errorf("the user is %q, git says %q", got, want)
				}
			})
		}
	}
}

// Patterns match as git's do.
func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		fold, want    bool
	}{
		{"/a/b/", "/a/b/c/.git", false, true},
		{"/a/b/", "/a/bc/.git", false, false},
		{"/a/b/.git", "/a/b/.git", false, true},
		{"**/b/", "/a/b/.git", false, true},
		{"**/b/**", "/x/y/b/z", false, true},
		{"/a/*/.git", "/a/b/.git", false, true},
		{"/a/*/.git", "/a/b/c/.git", false, false},
		{"/a/?/.git", "/a/b/.git", false, true},
		{"/a/[a-c]/.git", "/a/b/.git", false, true},
		{"/a/[!a-c]/.git", "/a/b/.git", false, false},
		{`/a/\*/.git`, "/a/*/.git", false, true},
		{`/a/\*/.git`, "/a/b/.git", false, false},
		{"/A/b/", "/a/B/.git", false, false},
		{"/A/b/", "/a/B/.git", true, true},
		{"/a+b(/", "/a+b(/.git", false, true},
		{"main", "main", false, true},
		{"feature/", "feature/x", false, true},
		{"feature/*", "feature/x/y", false, false},
		{"[", "[", false, true},
	} {
		if got, err := matches(c.pattern, c.path, c.fold); got != c.want || err != nil {
			t.Errorf("%q and %q: %v, %v, want %v", c.pattern, c.path, got, err, c.want)
		}
	}
}

// A remote's URL goes in without user and password, also where it is no proper URL.
func TestWithoutUser(t *testing.T) {
	for remote, want := range map[string]string{
		"https://host/x.git":            "https://host/x.git",
		"https://me:pw@host/x.git":      "https://host/x.git",
		"https://token@host/x":          "https://host/x",
		"https://me:p^s@s@host/x":       "https://host/x",
		"https://me:p%zz@host/@scope/x": "https://host/@scope/x",
		"https://me:p w@[::1]:80/x":     "https://[::1]:80/x",
		"https://me:pw@host:port/x":     "",
		"https://me:p/w@host/x":         "",
		"https::https://me:pw@host/x":   "",
		"ext::sh -c x@y":                "",
		"ssh://me@host/x":               "ssh://me@host/x",
		"ssh://me:pw@host:22/x":         "ssh://me@host:22/x",
		"git@host:x/y":                  "git@host:x/y",
		"file:///x":                     "",
		"/a:b":                          "",
		"../x":                          "",
	} {
		if got := withoutUser(remote); got != want {
			t.Errorf("withoutUser(%q) = %q, want %q", remote, got, want)
		}
	}
}
