package workspace

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"banger/internal/workspace/wire"
)

// hostileRepository is a script that makes one, and part of the message that refuses
// it; "" if it goes in.
type hostileRepository struct{ script, refused string }

// Hostile repositories. Nothing of them runs: each of these leaves a file canary if it
// does.
var hostileRepositories = map[string]hostileRepository{
	"fsmonitor":              {`git config core.fsmonitor "$CANARY"`, ""},
	"fsmonitor daemon":       {`git config core.fsmonitor true; git config core.fsmonitorHookVersion 2`, ""},
	"hooks":                  {`for h in post-index-change reference-transaction post-checkout pre-commit post-commit pre-auto-gc; do cp "$CANARY" .git/hooks/$h; done`, ""},
	"hooks elsewhere":        {`mkdir h; for h in post-index-change reference-transaction; do cp "$CANARY" h/$h; done; git config core.hooksPath "$PWD/h"`, ""},
	"clean filter":           {`git config filter.x.clean "$CANARY"; git config filter.x.smudge "$CANARY"; echo '* filter=x' >.gitattributes; git add .gitattributes`, ""},
	"process filter":         {`git config filter.x.process "$CANARY"; git config filter.x.required true; echo '* filter=x' >.git/info/attributes`, ""},
	"textconv":               {`git config diff.x.textconv "$CANARY"; git config diff.external "$CANARY"; echo '* diff=x' >.gitattributes; git add .gitattributes`, ""},
	"merge driver":           {`git config merge.x.driver "$CANARY %A"; echo '* merge=x' >.gitattributes; git add .gitattributes`, ""},
	"pager and editor":       {`git config core.pager "$CANARY"; git config core.editor "$CANARY"; git config sequence.editor "$CANARY"; git config pager.log true`, ""},
	"alias":                  {`git config alias.ls-files "!$CANARY"; git config alias.rev-parse "!$CANARY"`, ""},
	"ssh command":            {`git config core.sshCommand "$CANARY"; git config credential.helper "!$CANARY"; git remote add origin ssh://example.org/x`, ""},
	"ext remote":             {`git config protocol.ext.allow always; git remote add origin "ext::$CANARY"`, ""},
	"gpg":                    {`git config gpg.program "$CANARY"; git config commit.gpgSign true; git config log.showSignature true`, ""},
	"tracked bare":           {`git init -q --bare inner; git -C inner config core.fsmonitor "$CANARY"; cp "$CANARY" inner/hooks/post-index-change; git add inner`, ""},
	"include":                {`echo "[core] fsmonitor = $CANARY" >inc; git config include.path "$PWD/inc"`, ""},
	"include of a FIFO":      {`mkfifo fifo; git config include.path "$PWD/fifo"`, "git did not answer"},
	"worktree is the home":   {`git config core.worktree "$HOME"`, "has its work tree elsewhere"},
	"git link":               {`mv .git ../elsewhere; ln -s ../elsewhere .git`, "only a directory or a file can be"},
	"git file elsewhere":     {`git init -q ../secret; rm -rf .git; echo "gitdir: ../secret/.git" >.git`, "does not name this work tree"},
	"git file of a worktree": {`git init -q ../other; git -C ../other commit -q --allow-empty -m x; git -C ../other worktree add -q ../wt; cat ../wt/.git >../g; rm -rf .git; mv ../g .git`, "another work tree's"},
	"git file is a FIFO":     {`rm -rf .git; mkfifo .git`, "only a directory or a file can be"},
	"config is a FIFO":       {`rm .git/config; mkfifo .git/config`, "not a regular file"},
	"config is a link":       {`mv .git/config ../c; ln -s ../../c .git/config`, "not a regular file"},
	"index is a link":        {`cp .git/index ../i; rm .git/index; ln -s ../../i .git/index`, "not a regular file"},
	"index is a FIFO":        {`rm .git/index; mkfifo .git/index`, "not a regular file"},
	"index is garbage":       {`echo garbage >.git/index`, "git ls-files"},
	"branch is a FIFO":       {`rm .git/refs/heads/main; mkfifo .git/refs/heads/main`, "not a regular file"},
	"object is a FIFO":       {`o=$(git rev-parse HEAD:f); o=.git/objects/$(echo $o | cut -c1-2)/$(echo $o | cut -c3-); rm -f $o; mkfifo $o`, "not a regular file"},
	"tree links to a FIFO":   {`o=$(git rev-parse HEAD:); o=.git/objects/$(echo $o | cut -c1-2)/$(echo $o | cut -c3-); mkfifo ../p; rm -f $o; ln -s "$PWD/../p" $o`, "not a regular file"},
	"borrowed FIFO":          {`git init -q ../other; mkfifo "../other/.git/objects/pack/pack-$(printf %040d 1).idx"; echo ../../../other/.git/objects >.git/objects/info/alternates`, "not a regular file"},
	"alternates is a FIFO":   {`mkfifo .git/objects/info/alternates`, "not a regular file"},
	"alternates has no end":  {`ln -s /dev/zero .git/objects/info/alternates`, "not a regular file"},
	"HEAD is a FIFO":         {`rm .git/HEAD; mkfifo .git/HEAD`, "not a regular file"},
	"tracked file is a FIFO": {`rm f; mkfifo f`, `"f" is a FIFO`},
	"directory is a link":    {`mkdir d; echo 1 >d/f; git add d; git commit -qm d; rm -r d; mkdir "$HOME/secret"; echo s >"$HOME/secret/f"; ln -s "$HOME/secret" d`, ""},
	"ignore file is a FIFO":  {`mkfifo .gitignore`, ""},
	"attributes is a FIFO":   {`echo x >.gitattributes; git add .gitattributes; rm .gitattributes; mkfifo .gitattributes`, `".gitattributes" is a FIFO`},
	"lfs storage":            {`git config lfs.storage "$HOME"; git config lfs.url "ssh://example.org"`, ""},
	"promisor":               {`git config remote.origin.promisor true; git config remote.origin.url "ext::$CANARY"; git config extensions.partialClone origin; git config protocol.ext.allow always; rm -rf .git/objects/??; git config core.repositoryformatversion 1`, "the commit of HEAD is not in the repository"},
	"log of HEAD is a link":  {`echo s >"$HOME/rc"; rm .git/logs/HEAD; ln -s "$HOME/rc" .git/logs/HEAD`, "is a symbolic link"},
	"logs is a link":         {`mkdir "$HOME/l"; rm -r .git/logs; ln -s "$HOME/l" .git/logs; git config core.logAllRefUpdates always`, "is a symbolic link"},
	"objects is a link":      {`mv .git/objects "$HOME/o"; ln -s "$HOME/o" .git/objects`, "nothing is written where it may lead"},
	"packs is a link":        {`mkdir "$HOME/p"; rmdir .git/objects/pack; ln -s "$HOME/p" .git/objects/pack`, "nothing is written where it may lead"},
	"packed refs is a link":  {`git pack-refs --all; mv .git/packed-refs "$HOME/r"; ln -s "$HOME/r" .git/packed-refs`, "is not a regular file"},
	"undo is a link":         {`mkdir "$HOME/u"; echo s >"$HOME/u/journal.json"; ln -s "$HOME/u" .git/banger-undo`, ""},
	"apply is a link":        {`mkdir "$HOME/u"; echo s >"$HOME/u/journal.json"; ln -s "$HOME/u" .git/banger-apply`, "not a directory of an apply"},
	"lock is a link":         {`echo s >"$HOME/x"; ln -s "$HOME/x" .git/banger-apply.lock`, "too many levels of symbolic links"},
	"notes are a link":       {`echo '{}' >"$HOME/x"; ln -s "$HOME/x" .git/banger-applied.json`, ""},
	"LFS is a link":          {`mkdir "$HOME/l"; ln -s "$HOME/l" .git/lfs`, ""},
	"index lock is a link":   {`echo s >"$HOME/x"; ln -s "$HOME/x" .git/index.lock`, "index.lock"},
	"lock of HEAD is a link": {`echo s >"$HOME/x"; ln -s "$HOME/x" .git/HEAD.lock`, "HEAD.lock"},
	"bare":                   {`git config core.bare true`, "is bare"},
	"object format":          {`git config core.repositoryformatversion 1; git config extensions.objectFormat sha512`, "object format"},
}

func TestHostileRepositories(t *testing.T) {
	defer func(old time.Duration) { refLimit = old }(refLimit)
	refLimit = 2 * time.Second
	user(t)
	all := published(hostileRepositories, publishedRepositories)
	t.Logf("%d hostile repositories", len(all))
	t.Run("all", func(t *testing.T) { // ends with them
		for name, c := range all {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				testHostileRepository(t, c)
			})
		}
	})
	if got, _ := os.ReadDir(os.Getenv("HOME")); len(got) != 1 {
		t.Errorf("in the home there are %v: want git's settings alone", got)
	}
}

// published are two tables as one.
func published[C any](tables ...map[string]C) map[string]C {
	all := map[string]C{}
	for _, t := range tables {
		maps.Copy(all, t)
	}
	return all
}

func testHostileRepository(t *testing.T, c hostileRepository) {
	dir := t.TempDir()
	ran, canary := filepath.Join(dir, "ran"), filepath.Join(dir, "canary")
	if err := os.WriteFile(canary, []byte("#!/bin/sh\ntouch "+ran+"\ncat\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	repo := filepath.Join(dir, "repo")
	// The victim's files are below a home of their own.
	sh(t, dir, fmt.Sprintf(`cp -r "$HOME" home; export HOME=%s/home CANARY=%s
		git init -q repo; cd repo; echo 1 >f; echo 2 >g; git add .; git commit -qm one; echo 3 >>g
		%s`, dir, canary, c.script))
	os.Remove(ran) // by what made it
	before := hostFiles(t, dir)
	err := goThrough(t, repo)
	switch {
	case c.refused == "" && err != nil:
		t.Errorf("it is refused: %v", err)
	case c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)):
		t.Errorf("the error is %v, want %q", err, c.refused)
	}
	if _, err := os.Lstat(ran); err == nil {
		t.Error("something of the repository's ran")
	}
	if after := hostFiles(t, dir); after != before {
		t.Errorf("the host's files were\n%s\nand are\n%s", before, after)
	}
}

// hostFiles are all files below a directory, with their hashes, but for what a fetch
// and an apply are to write in a repository.
func hostFiles(t *testing.T, dir string) string {
	t.Helper()
	return sh(t, dir, `find . \( -path '*/.git/objects' -o -path '*/.git/refs/banger' -o -path '*/.git/logs' -o -path '*/.git/refs/heads/from-dev' -o -name 'banger-appl*' -o -name banger-undo \) -prune -o \
		\( -type f -printf '%m ' -exec sha256sum {} \; \) -o -printf '%M %p %l\n' | grep -v ' ./repo/.git$' | sort -k 2`)
}

// goThrough brings a repository in and a change out into it again, by all ways.
func goThrough(t *testing.T, repo string) error {
	t.Helper()
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		return err
	}
	p, err := NewPlan(t.Context(), r, Options{Scratch: t.TempDir(), IncludeUntracked: true})
	if err != nil {
		return err
	}
	defer p.Close()
	if _, err := p.Pack(t.Context()); err != nil {
		return err
	}
	home, tree := send(t, p)
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
	if err != nil {
		return err
	}
	for _, f := range p.Files {
		if strings.Contains(string(f.Path), "secret") {
			t.Errorf("%q goes in", f.Path)
		}
	}
	if err := os.WriteFile(filepath.Join(tree, "new"), []byte("n\n"), 0o644); err != nil {
		return err
	}
	w := bringOut(t, s, home)
	if _, err := s.Fetch(t.Context(), r, w, FetchOptions{Scratch: t.TempDir(), Name: "dev", As: "from-dev"}); err != nil {
		return err
	}
	var patch bytes.Buffer
	if err := s.Patch(t.Context(), &patch, w, PatchOptions{}); err != nil {
		return err
	}
	m, err := NewMerge(t.Context(), r, s, w, MergeOptions{Name: "dev", Scratch: t.TempDir()})
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.Apply(t.Context()); err != nil {
		return err
	}
	if _, err := Undo(t.Context(), r); err != nil {
		return err
	}
	m, err = NewMerge(t.Context(), r, s, w, MergeOptions{Name: "dev", Scratch: t.TempDir(), Commit: true})
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.Apply(t.Context()); err != nil {
		return err
	}
	_, err = Undo(t.Context(), r)
	return err
}

// A journal comes with a stranger's repository: nothing outside is read, written or run
// for it.
func TestHostileJournals(t *testing.T) {
	user(t)
	for name, c := range map[string]struct{ script, refused string }{
		"content is a link":    {`ln -s "$HOME/secret" "$J/old/0"`, "not a regular file"},
		"content is a FIFO":    {`mkfifo "$J/old/0"`, "not a regular file"},
		"old is a link":        {`rmdir "$J/old"; mkdir -p "$HOME/old"; cp "$HOME/secret" "$HOME/old/0"; ln -s "$HOME/old" "$J/old"`, "not a directory of an apply"},
		"journal is a link":    {`echo old >"$J/old/0"; mv "$J" ../j; ln -s ../../j "$J"`, "not a directory of an apply"},
		"journal is a FIFO":    {`rm "$J/journal.json"; mkfifo "$J/journal.json"`, "not a regular file"},
		"journal is too new":   {`echo '{"format":99}' >"$J/journal.json"`, "format 99"},
		"path leads out":       {`sed -i s/Zg==/Li4veA==/ "$J/journal.json"`, "leads out"},
		"path is git's":        {`sed -i s/Zg==/LmdpdC9jb25maWc=/ "$J/journal.json"`, "it is a git directory"},
		"ref is an option":     {`echo old >"$J/old/0"; sed -i 's/}$/,"commit":{"ref":"--upload-pack","to":"1"}}/' "$J/journal.json"`, "it says that"},
		"environment":          {`echo old >"$J/old/0"; sed -i 's/}$/,"commit":{"ref":"refs\/heads\/main","from":"1111111111111111111111111111111111111111","to":"'$(git rev-parse HEAD)'","who":["GIT_CONFIG_COUNT=1","GIT_CONFIG_KEY_0=core.hooksPath","GIT_CONFIG_VALUE_0=.git\/hooks"]}}/' "$J/journal.json"; cp "$CANARY" .git/hooks/reference-transaction`, "git update-ref"},
		"index path leads out": {`echo old >"$J/old/0"; sed -i 's/}$/,"index":[{"path":"Li4veA=="}]}/' "$J/journal.json"`, "leads out"},
		"index is a link":      {`echo old >"$J/old/0"; cp .git/index "$J/index.new"; ln -s "$HOME/secret" "$J/index.old"; sed -i 's/}$/,"index":[{"path":"Zg=="}]}/' "$J/journal.json"`, "not a regular file"},
	} {
		for _, dir := range []string{journalDir, undoDir} {
			t.Run(name+" "+dir, func(t *testing.T) {
				top := t.TempDir()
				ran, canary := filepath.Join(top, "ran"), filepath.Join(top, "canary")
				if err := os.WriteFile(canary, []byte("#!/bin/sh\ntouch "+ran+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
				t.Setenv("CANARY", canary)
				repo := filepath.Join(top, "repo")
				t.Setenv("J", filepath.Join(repo, ".git", dir))
				sh(t, top, `git init -q repo; cd repo; echo new >f; git add .; git commit -qm one; echo SECRET >"$HOME/secret"; mkdir -p "$J/old" "$J/new"; echo new >"$J/new/0"
					printf '{"format":2,"store":"s","tree":"t","paths":[{"path":"Zg==","old_mode":33188,"new_mode":33188}]}' >"$J/journal.json"`)
				sh(t, repo, c.script)
				r, err := Open(t.Context(), repo, "")
				if err != nil {
					t.Fatal(err)
				}
				if dir == journalDir {
					_, err = Recover(t.Context(), r)
				} else {
					_, err = Undo(t.Context(), r)
				}
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("the error is %v, want %q", err, c.refused)
				}
				if got := sh(t, repo, `grep -al ^SECRET f .git/index || true; cat "$HOME/secret"; ls ../x 2>/dev/null || true`); got != "SECRET\n" {
					t.Errorf("what has the secret, and its text: %q", got)
				}
				if _, err := os.Lstat(ran); err == nil {
					t.Error("something of the repository's ran")
				}
			})
		}
	}
}

// A link that no file system can have is named, and nothing is changed.
func TestHostileLinks(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; git add f; git commit -qm one`)
	p := plan(t, repo, Options{})
	before := hostFiles(t, repo)
	for name, target := range map[string]string{"empty": "", "NUL": "a\x00b", "too long": strings.Repeat("x", 4096), "a thousand times too long": strings.Repeat("x", 4<<20)} {
		t.Run(name, func(t *testing.T) {
			s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
			if err != nil {
				t.Fatal(err)
			}
			tree := treeEntry("100644", "a", object("blob", "1\n")) + treeEntry("120000", "l\x1b", object("blob", target))
			var in bytes.Buffer
			if err := wire.WriteJSON(&in, wire.Report{Tree: hex.EncodeToString(object("tree", tree)), Pack: true}); err != nil {
				t.Fatal(err)
			}
			in.Write(packOf(-1, packed{kind: packBlob, text: []byte(target)}, packed{kind: packBlob, text: []byte("1\n")}, packed{kind: packTree, text: []byte(tree)}))
			w, err := s.Import(t.Context(), &in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := merge(t, repo, s, w).Apply(t.Context()); !isNameError(err) || !strings.Contains(err.Error(), `"l\x1b": it is a link`) {
				t.Errorf("Apply = %v, want that l is no link", err)
			}
			if after := hostFiles(t, repo); after != before {
				t.Errorf("the host's files were\n%s\nand are\n%s", before, after)
			}
		})
	}
}

// A file that is called as apply calls those that it writes is named, and not lost on the
// way.
func TestHostileTemp(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; git add f; git commit -qm one`)
	s, w := imported(t, repo, "mkdir d; echo 1 >d/"+tempName+"; echo 2 >d/z")
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewMerge(t.Context(), r, s, w, MergeOptions{Name: "dev", Scratch: t.TempDir()}); !isNameError(err) {
		t.Errorf("NewMerge = %v, want that the name is taken", err)
	}
	m := mergeWith(t, repo, s, w, MergeOptions{Paths: []string{"d/z"}})
	if err := m.Apply(t.Context()); err != nil {
		t.Errorf("Apply of the rest: %v", err)
	}
}
