package workspace

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/workspace/wire"
)

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
