package workspace

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// conversions are the ways in which a repository may want its lines to end, from its
// first commit on.
var conversions = []string{
	":", ":", ":", ":", ":", ":", ":",
	"git config core.autocrlf true",
	"git config core.autocrlf input",
	"printf '* text=auto\n' >.gitattributes",
	"printf 'a* text eol=crlf\nb text eol=lf\n*.bin -text\n' >.gitattributes",
	"printf '* text=auto eol=crlf\n' >.gitattributes",
}

// anywhere are things that a user does with git, in the guest or before. Each may
// fail: what it left is what it left. $f is a path, $n a number that was not used
// before.
var anywhere = []string{
	"git add -A",
	"git add -A; git commit -q --allow-empty -m $n",
	"git commit -qam $n",
	"git add -A; git commit -q --amend --allow-empty -m amended-$n",
	"git checkout -q --detach",
	"git checkout -q -b topic/$n/x",
	"git add -N .",
	"git update-index --assume-unchanged -- \"$f\"; echo assumed >>\"$f\"",
	"git mv -- \"$f\" moved-$n",
	"git mv -- \"$f\" a.moved; echo edit >>a.moved",
	"git rm -rq --cached -- \"$f\"",
	"rm -f .gitignore",
	"printf 'a\n*.log\n' >.gitignore",
	"printf '%s\n' \"$f\" '!a' >.gitignore; echo log >x.log",
	"mkdir -p d; printf '*\n' >d/.gitignore",
	"echo '/bin' >.gitignore; git add -f -- bin",
	// A merge, a rebase and a cherry-pick that stop with conflicts in the index.
	other + "; git merge -q side-$n",
	other + "; git rebase -q side-$n",
	other + "; git cherry-pick side-$n",
	other + "; git merge -q side-$n; git checkout -q --theirs -- both; git add both; git commit -qm merged-$n",
}

// other commits the same file in two ways, on a branch side-$n and here.
const other = "git add -A; git commit -q --allow-empty -m $n; git branch side-$n; at=$(git symbolic-ref -q --short HEAD || git rev-parse HEAD); rm -rf both; " +
	"git checkout -q side-$n; echo theirs >both; echo theirs >>b; git add both b; git commit -qm theirs-$n; git checkout -q $at; echo ours >both; echo ours >>b; git add both b; git commit -qm ours-$n"

// inGuest are what only a guest does: what of it is there before stays behind.
var inGuest = []string{
	"git stash -q",
	"git stash -q -u; git stash pop -q",
	"git reset -q --hard HEAD",
	"git reset -q HEAD~1",
	"git checkout -q -f --orphan orphan-$n",
	"git branch -q -D $(git for-each-ref --format='%(refname:short)' refs/heads | head -1)",
	"git merge --abort || git rebase --abort || git cherry-pick --abort",
	// Repositories inside, with and without commits, and one that is none any more.
	"mkdir -p nest; cd nest; git init -q; echo $n >f; mkdir -p sub; echo $n >sub/g; git add f; git commit -qm $n; echo more >>f",
	"mkdir -p nest/deeper; cd nest/deeper; git init -q; echo $n >h",
	"rm -rf nest/.git",
	"rm -rf nest",
	"git add nest; git commit -qm 'a repository inside'",
	// An entry of a submodule that is not there, and one that is.
	"git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),gone-$n",
	"rm -rf d; git init -q d; echo $n >d/f; git -C d add f; git -C d commit -qm $n; git add d",
	"git gc -q",
}

// act does one of a list of things with git.
func (w *randomWork) act(dir string, list []string) {
	w.t.Helper()
	script := fmt.Sprintf("n=%d; f='%s'; ", len(w.log), strings.ReplaceAll(randomNames[w.r.IntN(len(randomNames))], "'", `'\''`)) + list[w.r.IntN(len(list))]
	w.sh(dir, "export GIT_EDITOR=true; ("+script+") >/dev/null 2>&1 || true")
}

// randomNames are of files: directories and files take each other's places.
var randomNames = []string{"a", "b", "a/x", "a/y", "d/e/f", "d/e", "d", "sp ace", "ü", "new\nline", "q\"uote", "-dash", "bin", "link", "\xff\xfe", "both", "a.log", "o.bin"}

// edit changes one path.
func (w *randomWork) edit(dir string) {
	name := randomNames[w.r.IntN(len(randomNames))]
	path := filepath.Join(dir, name)
	clear := func() {
		for at := filepath.Dir(path); len(at) > len(dir); at = filepath.Dir(at) {
			if fi, err := os.Lstat(at); err == nil && !fi.IsDir() {
				os.Remove(at)
			}
		}
		if fi, err := os.Lstat(path); err == nil && (fi.IsDir() || fi.Mode()&os.ModeSymlink != 0) {
			os.RemoveAll(path)
		}
		os.MkdirAll(filepath.Dir(path), 0o755)
	}
	kind := w.r.IntN(8)
	w.note(dir, "edit %q: %d", name, kind)
	var err error
	switch kind {
	case 0, 1, 2: // text
		clear()
		var text bytes.Buffer
		end := []string{"\n", "\n", "\r\n"}[w.r.IntN(3)]
		for range w.r.IntN(20) {
			fmt.Fprintf(&text, "line %d%s", w.r.IntN(10), end)
		}
		err = os.WriteFile(path, text.Bytes(), 0o644)
	case 3: // bytes
		clear()
		b := make([]byte, 1+w.r.IntN(3000))
		for i := range b[1:] {
			b[i+1] = byte(w.r.Uint32())
		}
		err = os.WriteFile(path, b, 0o644)
	case 4: // append
		clear()
		var f *os.File
		if f, err = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
			fmt.Fprintf(f, "more %d\n", w.r.IntN(1000))
			err = f.Close()
		}
	case 5: // modes
		if fi, serr := os.Lstat(path); serr == nil && fi.Mode().IsRegular() {
			err = os.Chmod(path, fi.Mode().Perm()^0o111)
		}
	case 6: // link
		clear()
		os.Remove(path)
		// Some of what is done later writes through a link: what it leads to must stand that.
		// A link that names itself is none that git looks beyond: nothing lies below both.
		err = os.Symlink([]string{"both", "../x", "/dev/null", "nowhere"}[w.r.IntN(4)], path)
	case 7:
		os.RemoveAll(path) // what is below a file is not there
	}
	if err != nil {
		w.t.Fatalf("edit %q: %v", path, err)
	}
}
