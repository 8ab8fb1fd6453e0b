package workspace

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// What the user edited after an apply was cut stays and is named, and what was there before
// the apply is kept.
func TestEditedAfterCut(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; mkdir d; for f in a d/b c e; do echo $f >$f; done; ln -s a l; git add .; git commit -qm one`)
	s, w := imported(t, repo, `for f in a d/b c; do echo guest >$f; done; rm e l; ln -s c l; echo n >n; echo m >m`)
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	x := begun(t, repo, s, w, MergeOptions{Index: true})
	run(t, x.steps(), len(x.steps())-3)
	sh(t, repo, `test "$(cat a)" = guest; echo edit >>d/b; rm c; echo edit >e; echo edit >>n; rm l; echo edit >l; echo edit >>a; git update-index --cacheinfo 100644,$(git hash-object -w d/b),a`)
	done, err := Recover(t.Context(), r)
	if err != nil || !done.Cut {
		t.Fatalf("Recover = %+v, %v", done, err)
	}
	if got, want := strings.Join(done.Edited, " "), `"e" "a" "c" "d/b" "l" "n" "a" in the index`; got != want {
		t.Errorf("edited is %s, want %s", got, want)
	}
	if got, want := sh(t, repo, "cat a d/b e l n; ls"), "guest\nedit\nguest\nedit\nedit\nedit\nn\nedit\na\nd\ne\nl\nn\n"; got != want {
		t.Errorf("the tree has\n%s\nwant\n%s", got, want)
	}
	if got, want := sh(t, done.Kept, "cat a d/b c e l; ls"), "a\nd/b\nc\ne\naa\nc\nd\ne\nl\n"; got != want {
		t.Errorf("kept is\n%s\nwant\n%s", got, want)
	}
	if filepath.Dir(done.Kept) != r.GitDir || !strings.Contains(done.String(), done.Kept) {
		t.Errorf("kept is in %s: %s", done.Kept, done)
	}
	if done, err := Recover(t.Context(), r); err != nil || done.Cut {
		t.Errorf("a second Recover = %+v, %v", done, err)
	}
}

// A file that the user edits while an apply is under way, before it is reached, stops it;
// what the apply did not write it does not keep.
func TestEditedBeforeReached(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >a; echo 1 >b; git add .; git commit -qm one`)
	s, w := imported(t, repo, `echo 2 >a; echo 2 >b`)
	x := begun(t, repo, s, w, MergeOptions{})
	sh(t, repo, "echo edit >b")
	var changed *ChangedError
	if err := x.run(t.Context()); !errors.As(err, &changed) || strings.Contains(err.Error(), "edited since") {
		t.Errorf("run = %v", err)
	}
	sh(t, repo, `test "$(cat a b)" = "$(echo 1; echo edit)"; ! ls -d .git/banger-cut-*`)
}
