package workspace

import (
	"errors"
	"strings"
	"testing"
)

// Conflicts in text files become markers if that is asked for, with the index as git
// merge leaves it, and an undo takes them back.
func TestApplyMarkers(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; seq 20 >f; printf 'a\r\nb\r\n' >crlf; echo 'crlf eol=crlf' >.gitattributes; echo g >g; git add .; git commit -qm one`)
	s, w := imported(t, repo, `sed -i 's/^5$/guest 5/; s/^15$/guest 15/' f; printf 'a\r\nguest\r\n' >crlf; echo new >new; echo more >>g`)
	sh(t, repo, `sed -i 's/^5$/mine 5/; s/^15$/mine 15/; 1s/$/ mine/' f; printf 'a\r\nmine\r\n' >crlf; git add f crlf`)
	before := state(t, repo)
	m := merge(t, repo, s, w)
	if len(m.Conflicts) != 2 || !m.Markable || len(m.Marked) != 0 {
		t.Errorf("conflicts %q, markable %v, marked %v", m.Conflicts, m.Markable, m.Marked)
	}
	m = mergeWith(t, repo, s, w, MergeOptions{Markers: true, Index: true})
	if len(m.Marked) != 2 || string(m.Marked[1].Path) != "f" || m.Marked[1].Conflicts != 2 {
		t.Errorf("marked %v, want two conflicts in f", m.Marked)
	}
	if err := m.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := "a\r\n<<<<<<< work tree\r\nmine\r\n=======\r\nguest\r\n>>>>>>> dev\r\n"
	if got := sh(t, repo, "cat crlf"); got != want {
		t.Errorf("crlf is %q, want %q", got, want)
	}
	got := sh(t, repo, "sed -n '1p;5,9p' f; git status --porcelain; git ls-files -u | wc -l; git diff >/dev/null")
	want = "1 mine\n<<<<<<< work tree\nmine 5\n=======\nguest 5\n>>>>>>> dev\nUU crlf\nUU f\nM  g\nA  new\n6\n"
	if got != want {
		t.Errorf("after apply:\n%s\nwant:\n%s", got, want)
	}
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Undo(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if after := state(t, repo); after != before {
		t.Errorf("after undo:\n%s\nwant:\n%s", after, before)
	}
	// Resolved, it is no conflict for what comes after.
	if err := mergeWith(t, repo, s, w, MergeOptions{Markers: true}).Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	sh(t, repo, `sed -i '/^[<=>]\{7\}/d' f crlf; git add -A`)
	if m := merge(t, repo, s, w); len(m.Conflicts) > 0 || !m.IsEmpty() {
		t.Errorf("after they are resolved: conflicts %q, changes %v", m.Conflicts, m.Changes)
	}
}

// What markers can't show stops all of it, markers or not.
func TestApplyMarkersRefused(t *testing.T) {
	user(t)
	for name, c := range map[string]struct{ guest, host, conflict string }{
		"binary":           {`printf 'a\0b' >bin`, `printf 'a\0c' >bin`, "bin"},
		"removed here":     {`echo guest >g`, `git rm -q g`, "g"},
		"removed there":    {`git rm -q g`, `echo mine >g`, "g"},
		"link":             {`ln -sf a link`, `ln -sf b link`, "link"},
		"link and file":    {`rm g; ln -s a g`, `echo mine >g`, "g"},
		"file, directory":  {`rm g; mkdir g; echo x >g/x`, `echo mine >g`, "g"},
		"untracked":        {`echo guest >new`, `echo mine >new`, "new"},
		"ignored":          {`echo guest >new`, `echo new >.git/info/exclude; echo mine >new`, "new"},
		"marked as binary": {`echo guest >g`, `echo mine >g; echo 'g -merge' >.gitattributes; git add .gitattributes`, "g"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := t.TempDir()
			sh(t, repo, `git init -q; echo 1 >f; echo 1 >g; printf 'a\0a' >bin; ln -s f link; git add .; git commit -qm one`)
			s, w := imported(t, repo, `echo guest >f;`+c.guest)
			sh(t, repo, `echo mine >f;`+c.host)
			before := sh(t, repo, "git --no-optional-locks status --porcelain; cat f; ls -l . .git")
			m := mergeWith(t, repo, s, w, MergeOptions{Markers: true})
			var conflict *ConflictError
			if err := m.Apply(t.Context()); !errors.As(err, &conflict) || !strings.HasPrefix(strings.Join(conflict.Paths, " "), c.conflict) || m.Markable {
				t.Errorf("Apply = %v, markable %v, want a conflict in %s", err, m.Markable, c.conflict)
			}
			if after := sh(t, repo, "git --no-optional-locks status --porcelain; cat f; ls -l . .git"); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}
