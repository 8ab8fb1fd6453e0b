package workspace

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"os/exec"
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
	"packed refs is a link":  {`git pack-refs --all; mv .git/packed-refs "$HOME/r"; ln -s "$HOME/r" .git/packed-refs`, "too many levels of symbolic links"},
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

// hostileTree is entries "MODE NAME" of a guest's tree, and part of the message that
// refuses it.
type hostileTree struct {
	entries []string
	refused string
}

var hostileTrees = map[string]hostileTree{
	"git":                       {[]string{"100644 .git"}, `".git": it is a git directory`},
	"git directory":             {[]string{"40000 .git"}, `".git": it is a git directory`},
	"git in capitals":           {[]string{"40000 .GiT"}, `".GiT": it is a git directory`},
	"git short":                 {[]string{"40000 GIT~1"}, `"GIT~1": it is a git directory`},
	"git with a space":          {[]string{"40000 .git "}, `".git ": it is a git directory`},
	"git with dots":             {[]string{"40000 .git..."}, `".git...": it is a git directory`},
	"git stream":                {[]string{"40000 .git::$INDEX_ALLOCATION"}, `it is a git directory`},
	"git backslash":             {[]string{"100644 .git\\config"}, `it is a git directory`},
	"git with zero width":       {[]string{"40000 .g\u200cit"}, `it is a git directory`},
	"git with joiner":           {[]string{"40000 \u200d.git"}, `it is a git directory`},
	"git with a mark":           {[]string{"40000 .git\ufeff"}, `it is a git directory`},
	"git with direction":        {[]string{"40000 .gi\u202et"}, `it is a git directory`},
	"git with shaping":          {[]string{"40000 .gi\u206at"}, `it is a git directory`},
	"up":                        {[]string{"100644 .."}, `"..": it leads out`},
	"up directory":              {[]string{"40000 .."}, `"..": it leads out`},
	"here":                      {[]string{"100644 ."}, `".": it leads out`},
	"slash":                     {[]string{"100644 a/../../b"}, `it leads out`},
	"absolute":                  {[]string{"100644 /etc/passwd"}, `it has an empty name`},
	"empty":                     {[]string{"100644 "}, `git index-pack`},
	"long name":                 {[]string{"100644 " + strings.Repeat("x", 4096)}, `longer than`},
	"name over 255":             {[]string{"100644 " + strings.Repeat("x", 256)}, `longer than a name can be`},
	"twice":                     {[]string{"100644 a", "100644 a"}, `"a": it is there twice`},
	"file and directory":        {[]string{"100644 a", "40000 a"}, `"a": it is there twice`},
	"not sorted":                {[]string{"100644 b", "100644 a"}, `not properly sorted`},
	"device mode":               {[]string{"60644 a"}, `"a": it is a submodule, and the base has none there`},
	"world-writable mode":       {[]string{"100666 a"}, `as it says`},
	"setuid mode":               {[]string{"104755 a"}, `as it says`},
	"submodule":                 {[]string{"160000 mod"}, `"mod": it is a submodule, and the base has none there`},
	"gitmodules link":           {[]string{"120000 .gitmodules"}, `.gitmodules is a symbolic link`},
	"gitmodules link by case":   {[]string{"120000 .GITMODULES"}, `.gitmodules is a symbolic link`},
	"gitmodules short":          {[]string{"120000 GITMOD~1"}, `.gitmodules is a symbolic link`},
	"zero-padded":               {[]string{"0100644 a"}, `zero-padded file modes`},
	"deep git":                  {[]string{"40000 deep/.git"}, `it is a git directory`},
	"control bytes in git name": {[]string{"40000 .git\t"}, `it is a git directory`},
}

func TestHostileTrees(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; git add f; git commit -qm one`)
	p := plan(t, repo, Options{})
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
	if err != nil {
		t.Fatal(err)
	}
	home := hostFiles(t, os.Getenv("HOME"))
	all := published(hostileTrees, publishedTrees)
	t.Logf("%d hostile trees", len(all))
	for name, c := range all {
		t.Run(name, func(t *testing.T) {
			before := hostFiles(t, repo) + hostFiles(t, s.Dir)
			evil := t.TempDir()
			sh(t, evil, "git init -q")
			tree := evilTree(t, evil, c.entries)
			_, err := s.Import(t.Context(), bytes.NewReader(evilReport(t, evil, wire.Report{Tree: tree, Pack: true})), nil)
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("Import = %v, want %q", err, c.refused)
			}
			if err != nil && strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' && r != '\n' }) {
				t.Errorf("the message has control characters: %q", err)
			}
			if _, err := s.Work(); err == nil {
				t.Error("the store has work")
			}
			if after := hostFiles(t, repo) + hostFiles(t, s.Dir); after != before {
				t.Errorf("the host's files were\n%s\nand are\n%s", before, after)
			}
		})
	}
	if now := hostFiles(t, os.Getenv("HOME")); now != home {
		t.Errorf("the home was\n%s\nand is\n%s", home, now)
	}
}

// evilTree writes a tree object that git would not write.
func evilTree(t *testing.T, repo string, entries []string) string {
	t.Helper()
	blob := strings.TrimSpace(sh(t, repo, "echo evil | git hash-object -w --stdin"))
	sub := strings.TrimSpace(sh(t, repo, `printf '100644 blob %s\tconfig\n' `+blob+` | git mktree`))
	commit := strings.TrimSpace(sh(t, repo, "git commit-tree -m x "+sub))
	var text bytes.Buffer
	for _, e := range entries {
		mode, name, _ := strings.Cut(e, " ")
		id := blob
		switch {
		case mode == "40000":
			id = sub
		case mode == "160000":
			id = commit
		}
		raw, err := hex.DecodeString(id)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "%s %s\x00%s", mode, name, raw)
	}
	cmd := exec.Command("git", "hash-object", "-t", "tree", "-w", "--literally", "--stdin")
	cmd.Dir, cmd.Stdin = repo, &text
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// evilReport is a report with a pack of all that the repository has.
func evilReport(t *testing.T, repo string, r wire.Report) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := wire.WriteJSON(&out, r); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "git cat-file --batch-all-objects --batch-check='%(objectname)' | git pack-objects --stdout -q")
	cmd.Dir, cmd.Stdout, cmd.Stderr = repo, &out, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Hostile reports: what is said, whatever the objects are.
func TestHostileReports(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; git add f; git commit -qm one`)
	p := plan(t, repo, Options{})
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
	if err != nil {
		t.Fatal(err)
	}
	good := p.Tree
	blob := strings.TrimSpace(sh(t, repo, "git rev-parse HEAD:f"))
	ref := func(name, id string) []wire.Ref { return []wire.Ref{{Name: []byte(name), ID: id}} }
	for name, c := range map[string]struct {
		r       wire.Report
		text    string // instead of r
		refused string
	}{
		"no tree":              {wire.Report{}, "", "is no tree's id"},
		"tree is an option":    {wire.Report{Tree: "--upload-pack=touch x"}, "", "is no tree's id"},
		"tree is a ref":        {wire.Report{Tree: "HEAD"}, "", "is no tree's id"},
		"tree is a blob":       {wire.Report{Tree: blob}, "", "is a blob, not a tree"},
		"tree is not there":    {wire.Report{Tree: strings.Repeat("1", 40)}, "", "is not among its objects"},
		"head is a blob":       {wire.Report{Tree: good, Head: blob}, "", "is a blob, not a commit"},
		"head is not there":    {wire.Report{Tree: good, Head: strings.Repeat("2", 40)}, "", "is not among its objects"},
		"branch up":            {wire.Report{Tree: good, Refs: ref("refs/heads/../../x", p.Base)}, "", "is no branch's name"},
		"branch lock":          {wire.Report{Tree: good, Refs: ref("refs/heads/x.lock", p.Base)}, "", "is no branch's name"},
		"branch elsewhere":     {wire.Report{Tree: good, Refs: ref("refs/tags/x", p.Base)}, "", "is no branch's name"},
		"branch with newline":  {wire.Report{Tree: good, Refs: ref("refs/heads/a\nb", p.Base)}, "", "is no branch's name"},
		"branch with NUL":      {wire.Report{Tree: good, Refs: ref("refs/heads/a\x00b", p.Base)}, "", "is no branch's name"},
		"branch long":          {wire.Report{Tree: good, Refs: ref("refs/heads/"+strings.Repeat("x", 2000), p.Base)}, "", "is no branch's name"},
		"branch dotted":        {wire.Report{Tree: good, Refs: ref("refs/heads/.x", p.Base)}, "", "is no branch's name"},
		"branch is an option":  {wire.Report{Tree: good, Refs: ref("refs/heads/a b", p.Base)}, "", "is no branch's name"},
		"branch of no commit":  {wire.Report{Tree: good, Refs: ref("refs/heads/x", blob)}, "", "is a blob, not a commit"},
		"too many branches":    {wire.Report{Tree: good, Refs: make([]wire.Ref, maxRefs+1)}, "", "branches: the most is"},
		"error with escapes":   {wire.Report{Error: "\x1b[31mx"}, "", `\x1b`},
		"no report":            {wire.Report{}, "", "is no tree's id"},
		"no JSON":              {wire.Report{}, "garbage\n", "read the guest's report"},
		"nothing":              {wire.Report{}, " ", "read the guest's report"},
		"endless line":         {wire.Report{}, strings.Repeat("x", wire.MaxLine+10), "longer than"},
		"pack is garbage":      {wire.Report{}, `{"tree":"` + good + `","pack":true}` + "\nPACKgarbage", "objects are refused"},
		"pack is cut":          {wire.Report{}, `{"tree":"` + good + `","pack":true}` + "\nPACK\x00\x00\x00\x02\x00\x00\x00\x01", "objects are refused"},
		"pack with a bad sum":  {wire.Report{}, `{"tree":"` + good + `","pack":true}` + "\nPACK\x00\x00\x00\x02\x00\x00\x00\x00" + strings.Repeat("x", 20), "objects are refused"},
		"pack says 4 billions": {wire.Report{}, `{"tree":"` + good + `","pack":true}` + "\nPACK\x00\x00\x00\x02\xff\xff\xff\xff", "objects are refused"},
	} {
		t.Run(name, func(t *testing.T) {
			var in bytes.Buffer
			in.WriteString(c.text)
			if c.text == "" {
				if err := wire.WriteJSON(&in, c.r); err != nil {
					t.Fatal(err)
				}
			}
			before := hostFiles(t, repo) + hostFiles(t, s.Dir)
			_, err := s.Import(t.Context(), &in, nil)
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("Import = %v, want %q", err, c.refused)
			}
			if _, err := s.Work(); err == nil {
				t.Error("the store has work")
			}
			if after := hostFiles(t, repo) + hostFiles(t, s.Dir); after != before {
				t.Errorf("the host's files were\n%s\nand are\n%s", before, after)
			}
		})
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
