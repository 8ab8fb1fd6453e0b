package workspace

import (
	"archive/tar"
	"bytes"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	guest "banger/internal/agent/workspace"
	"banger/internal/workspace/wire"
)

// The tree of a guest without git is the one that its git would have made.
func TestWithoutGit(t *testing.T) {
	userLFS(t)
	sh(t, t.TempDir(), `git config --global core.autocrlf input; mkdir -p ~/.config/git; echo '*.mine' >~/.config/git/ignore`)
	repo := t.TempDir()
	sh(t, repo, `git init -q; mkdir -p d/e sub; printf '*.o\n.env\n' >.gitignore; printf '*.txt text eol=crlf\n*.bin filter=lfs -text\n' >.gitattributes; yes a | head -c 5000 >a.bin; : >e.bin; printf 'a\r\nb\r\n' >w.txt; echo 1 >f; echo 2 >d/e/g; ln -s f l; echo x >x; chmod +x x; echo k >sub/k; echo S >.env
		git add .; git commit -qm one; echo edit >>f; echo u >u`)
	p := plan(t, repo, Options{IncludeUntracked: true, Include: []string{".env"}})
	home, tree := send(t, p)
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
	if err != nil {
		t.Fatal(err)
	}
	for n, script := range []string{
		":",
		`printf 'c\r\n' >>w.txt; printf 'l\r\n' >crlf; rm l d/e/g; ln -s x l; chmod -x x; echo new >new; echo o >d/y.o; echo m >z.mine; echo '*.log' >>.gitignore; echo 1 >a.log; printf 'odd' >"$(printf '\377 q"\n')"`,
		`rm -r d u; echo d >d; mkdir f2; mv f f2/f; rm .env; echo more >>new; yes b | head -c 5000 >a.bin; cp a.bin same.bin; yes x | head -c 3000 >x.bin; chmod +x x.bin; echo no >e.bin`,
		`git init -q inner; echo i >inner/i; echo '*' >sub/.gitignore; echo n >sub/n`,
		`cd ..; mv repo moved; ln -s moved repo; echo moved >repo/f3`,
	} {
		sh(t, tree, script)
		q, err := s.Question(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := guest.ReportFiles(t.Context(), q, home, &out); err != nil {
			t.Fatal(err)
		}
		if n == 0 && out.Len() > 8<<10 {
			t.Errorf("of an unchanged tree %d bytes come", out.Len())
		}
		got, err := s.Import(t.Context(), &out, nil)
		if err != nil {
			t.Fatal(err)
		}
		if list, err := s.Wanted(t.Context(), got); err != nil || len(list) > 0 {
			t.Errorf("%d: the store lacks %v, %v", n, list, err)
		}
		want := bringOut(t, s, home)
		if got.Tree != want.Tree || got.Ignored != want.Ignored || got.Files != want.Files || strings.Join(got.Nested, " ") != strings.Join(want.Nested, " ") {
			t.Errorf("%d: without git %+v\nwith it     %+v\n%s", n, got, want, sh(t, s.repo(), "git diff-tree -r "+got.Tree+" "+want.Tree))
		}
	}
}

// A list of more names than a tree may have is not taken into memory.
func TestHostileList(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; git add .; git commit -qm one`)
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), plan(t, repo, Options{}), Owner{Name: "dev", GuestPath: "repo"})
	if err != nil {
		t.Fatal(err)
	}
	var list, out bytes.Buffer
	for n := range maxEntries + 1 {
		list.WriteString(strconv.FormatInt(int64(n), 36) + "\x00")
	}
	wire.WriteJSON(&out, wire.Report{Files: true})
	w := tar.NewWriter(&out)
	w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: wire.PartUnchanged, Size: int64(list.Len())})
	w.Write(list.Bytes())
	w.Close()
	if _, err := s.Import(t.Context(), &out, nil); err == nil || !strings.Contains(err.Error(), "more than 2000000 paths") {
		t.Errorf("Import = %v, want that it has too many paths", err)
	}
}

// Names that no host's tree may have are refused, whoever makes the tree.
func TestHostileFiles(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; mkdir d; echo 2 >d/g; git add .; git commit -qm one`)
	p := plan(t, repo, Options{})
	file := func(name string) *tar.Header {
		return &tar.Header{Typeflag: tar.TypeReg, Name: wire.PartTree + name, Mode: 0o644}
	}
	link := func(name, to string) *tar.Header {
		return &tar.Header{Typeflag: tar.TypeSymlink, Name: wire.PartTree + name, Linkname: to}
	}
	for name, c := range map[string]struct {
		entries []*tar.Header
		want    string
	}{
		"dot git":          {[]*tar.Header{file(".git/hooks/post-checkout")}, "git directory"},
		"dot git, NTFS":    {[]*tar.Header{file("d/GIT~1/config")}, "git directory"},
		"parent":           {[]*tar.Header{file("../x")}, "out of its directory"},
		"absolute":         {[]*tar.Header{file("/etc/x")}, "empty name"},
		"beyond a link":    {[]*tar.Header{link("a", "/etc"), file("a/x")}, "file exists"},
		"twice":            {[]*tar.Header{file("a"), file("a")}, "exists"},
		"device":           {[]*tar.Header{{Typeflag: tar.TypeChar, Name: wire.PartTree + "a"}}, "of type"},
		"hard link":        {[]*tar.Header{{Typeflag: tar.TypeLink, Name: wire.PartTree + "a", Linkname: "f"}}, "of type"},
		"elsewhere":        {[]*tar.Header{{Typeflag: tar.TypeReg, Name: "git/config"}}, "has an entry"},
		"no list":          {nil, "EOF"},
		"an endless list":  {[]*tar.Header{{Typeflag: tar.TypeReg, Name: wire.PartUnchanged, Size: 1 << 40}}, "begins with"},
		"more than fits":   {[]*tar.Header{{Typeflag: tar.TypeReg, Name: wire.PartTree + "big", Size: 50 << 30}}, "room"},
		"a long name":      {[]*tar.Header{file(strings.Repeat("x", 300))}, "longer"},
		"git's attributes": {[]*tar.Header{link(".gitattributes", "/etc/passwd")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			wire.WriteJSON(&out, wire.Report{Files: true})
			w := tar.NewWriter(&out)
			if name != "no list" && name != "an endless list" {
				const list = "f\x00d/g\x00"
				w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: wire.PartUnchanged, Size: int64(len(list))})
				w.Write([]byte(list))
			}
			for _, h := range c.entries {
				w.WriteHeader(h)
			}
			w.Flush()
			if name == "git's attributes" {
				w.Close()
			}
			before := sh(t, s.Dir, "find . -type f | sort")
			_, err = s.Import(t.Context(), &out, nil)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
			if after := sh(t, s.Dir, "find . -type f | sort"); c.want != "" && after != before {
				t.Errorf("the store had\n%s\nand has\n%s", before, after)
			}
		})
	}
}
