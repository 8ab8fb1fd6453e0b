package workspace

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/workspace/wire"
)

// Types of objects in a pack (git's Documentation/gitformat-pack.txt).
const (
	packCommit   = 1
	packTree     = 2
	packBlob     = 3
	packRefDelta = 7
)

// packed is an object of a pack: base is a delta's, and text its instructions.
type packed struct {
	kind int
	size int // that is said; 0 is text's
	base []byte
	text []byte
}

// packOf is a pack of objects; count is how many it says that it has, -1 for the truth.
func packOf(count int, objects ...packed) []byte {
	if count < 0 {
		count = len(objects)
	}
	b := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(count))
	for _, o := range objects {
		size := o.size
		if size == 0 {
			size = len(o.text)
		}
		first := byte(o.kind<<4 | size&15)
		for size >>= 4; size > 0; size >>= 7 {
			b = append(b, first|0x80)
			first = byte(size & 0x7f)
		}
		b = append(append(b, first), o.base...)
		var z bytes.Buffer
		w := zlib.NewWriter(&z)
		w.Write(o.text)
		w.Close()
		b = append(b, z.Bytes()...)
	}
	sum := sha1.Sum(b)
	return append(b, sum[:]...)
}

func treeEntry(mode, name string, id []byte) string { return mode + " " + name + "\x00" + string(id) }

// bomb is a tree of 1,000 entries of the same tree, three deep: a thousand million paths
// in four objects.
func bomb() (tree []byte, objects []packed) {
	blob := []byte("x")
	objects = append(objects, packed{kind: packBlob, text: blob})
	id, mode := object("blob", "x"), "100644"
	for range 3 {
		var text strings.Builder
		for n := range 1000 {
			text.WriteString(treeEntry(mode, fmt.Sprintf("%04d", n), id))
		}
		objects = append(objects, packed{kind: packTree, text: []byte(text.String())})
		id, mode = object("tree", text.String()), "40000"
	}
	return id, objects
}

// chain is a tree with the last of n versions of a file, each a delta of the one before:
// the same, and a byte more.
func chain(n int) (tree []byte, objects []packed) {
	text := "0"
	objects = append(objects, packed{kind: packBlob, text: []byte(text)})
	id := object("blob", text)
	for range n {
		delta := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(len(text))), uint64(len(text)+1))
		delta = append(delta, 0xb0, byte(len(text)), byte(len(text)>>8), 1, 'x') // copy all, insert x
		objects = append(objects, packed{kind: packRefDelta, base: id, text: delta})
		text += "x"
		id = object("blob", text)
	}
	root := treeEntry("100644", "f", id)
	return object("tree", root), append(objects, packed{kind: packTree, text: []byte(root)})
}

// deltaBomb is a blob of 16 MiB of zeros, and a delta of it that makes more than
// guestMemory.
func deltaBomb() []packed {
	const size = 16 << 20
	zeros := make([]byte, size)
	delta := binary.AppendUvarint(binary.AppendUvarint(nil, size), 200*(size-1))
	for range 200 {
		delta = append(delta, 0xf0, 0xff, 0xff, 0xff) // copy size-1 bytes from 0
	}
	return []packed{{kind: packBlob, text: zeros}, {kind: packRefDelta, base: object("blob", string(zeros)), text: delta}}
}

// Hostile packs: each is refused with its own message, or is what it is.
func TestHostilePacks(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; git add f; git commit -qm one`)
	p := plan(t, repo, Options{})
	if _, err := p.Pack(t.Context()); err != nil { // once, for all
		t.Fatal(err)
	}
	empty := object("tree", "")
	blob := packed{kind: packBlob, text: []byte("x")}
	one := treeEntry("100644", "f", object("blob", "x"))
	missing := treeEntry("100644", "f", bytes.Repeat([]byte{7}, 20))
	bombTree, bombObjects := bomb()
	chainTree, chainObjects := chain(4000)
	a, b := bytes.Repeat([]byte{1}, 20), bytes.Repeat([]byte{2}, 20)
	delta := []byte{1, 1, 1, 'x'} // one byte becomes one byte
	commit := fmt.Sprintf("tree %x\nauthor a <a@b> 0 +0000\ncommitter a <a@b> 0 +0000\n\n", empty)
	for name, c := range map[string]struct {
		tree    []byte
		pack    []byte
		refused string
	}{
		"a thousand million paths":       {bombTree, packOf(-1, bombObjects...), "more than 2000000 paths"},
		"a chain of 4,000 deltas":        {chainTree, packOf(-1, chainObjects...), ""},
		"a delta that makes gigabytes":   {empty, packOf(-1, deltaBomb()...), "cannot allocate memory"},
		"deltas of each other":           {empty, packOf(-1, packed{kind: packRefDelta, base: a, text: delta}, packed{kind: packRefDelta, base: b, text: delta}), "unresolved deltas"},
		"a delta of what is not there":   {empty, packOf(-1, packed{kind: packRefDelta, base: a, text: delta}), "unresolved delta"},
		"a delta that reads too far":     {empty, packOf(-1, blob, packed{kind: packRefDelta, base: object("blob", "x"), text: []byte{1, 9, 0x90, 9}}), "failed to apply delta"},
		"a size that is a lie":           {empty, packOf(-1, packed{kind: packBlob, size: 1 << 20, text: []byte("x")}), "inflate"},
		"a size that is too small":       {empty, packOf(-1, packed{kind: packBlob, size: 1, text: []byte("much more")}), "inflate"},
		"a commit of 4 GiB, it says":     {empty, packOf(-1, packed{kind: packTree}, packed{kind: packCommit, size: 4 << 30, text: []byte(commit)}), "cannot allocate memory"},
		"a delta to 4 GiB, it says":      {empty, packOf(-1, blob, packed{kind: packRefDelta, base: object("blob", "x"), text: binary.AppendUvarint([]byte{1}, 4<<30)}), "cannot allocate memory"},
		"a kind that is none":            {empty, packOf(-1, packed{kind: 5, text: []byte("x")}), "unknown object type 5"},
		"more than it says":              {empty, packOf(1, blob, packed{kind: packTree, text: []byte(one)}), "pack is corrupted"},
		"fewer than it says":             {empty, packOf(3, blob), "index-pack"},
		"a tree that is cut":             {object("tree", one[:9]), packOf(-1, blob, packed{kind: packTree, text: []byte(one[:9])}), "too-short tree object"},
		"a commit without an author":     {empty, packOf(-1, packed{kind: packCommit, text: []byte("tree " + hex.EncodeToString(empty) + "\n\n")}), "missingAuthor"},
		"a commit with a NUL":            {empty, packOf(-1, packed{kind: packTree}, packed{kind: packCommit, text: []byte(strings.Replace(commit, "author", "author\x00", 1))}), "nulInHeader"},
		"a file that is not there":       {object("tree", missing), packOf(-1, packed{kind: packTree, text: []byte(missing)}), "index-pack"},
		"a blob where a tree should be":  {object("tree", treeEntry("40000", "d", object("blob", "x"))), packOf(-1, blob, packed{kind: packTree, text: []byte(treeEntry("40000", "d", object("blob", "x")))}), "index-pack"},
		"what nobody asked for besides":  {empty, packOf(-1, packed{kind: packTree}, blob, packed{kind: packTree, text: []byte(one)}), ""},
		"the same object a hundredfold":  {object("tree", one), packOf(-1, append(repeat(blob, 100), packed{kind: packTree, text: []byte(one)})...), "appears twice in the pack"},
		"another repository's signature": {empty, append([]byte("PACK\x00\x00\x00\x09"), packOf(-1, blob)[8:]...), "pack version 9 unsupported"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
			if err != nil {
				t.Fatal(err)
			}
			var in bytes.Buffer
			if err := wire.WriteJSON(&in, wire.Report{Tree: hex.EncodeToString(c.tree), Pack: true}); err != nil {
				t.Fatal(err)
			}
			in.Write(c.pack)
			before := hostFiles(t, repo) + hostFiles(t, s.Dir)
			_, err = s.Import(t.Context(), &in, nil)
			if c.refused == "" {
				if err != nil {
					t.Errorf("Import = %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("Import = %v, want %q", err, c.refused)
			}
			if after := hostFiles(t, repo) + hostFiles(t, s.Dir); after != before {
				t.Errorf("the host's files were\n%s\nand are\n%s", before, after)
			}
		})
	}
}

// A file that is larger than may be is named, in a tree or in a commit: packed, it may be
// small. What the base has is not looked at.
func TestLargeFiles(t *testing.T) {
	user(t)
	defer func(old int64) { maxFile = old }(maxFile)
	maxFile = 1 << 20
	for script, want := range map[string]string{
		"truncate -s 2M d/sparse":                             `"d/sparse" has 2097152 bytes: the most is 1048576`,
		"truncate -s 2M x; git add x; git commit -qm x; rm x": `"x" has 2097152 bytes`,
		"truncate -s 1M x; mv large d":                        "",
	} {
		repo := t.TempDir()
		sh(t, repo, `git init -q; mkdir d; echo 1 >d/f; head -c 3000000 /dev/urandom >large; git add .; git commit -qm one`)
		p := plan(t, repo, Options{})
		home, tree := send(t, p)
		s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
		if err != nil {
			t.Fatal(err)
		}
		sh(t, tree, script)
		if _, err := tryToBringOut(t.Context(), s, home); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Import = %v, want %q", script, err, want)
		}
	}
}

func repeat(o packed, n int) (list []packed) {
	for range n {
		list = append(list, o)
	}
	return list
}

// Hostile patches: what a guest can put into the patch that a user gives to plain git
// apply. It writes the guest's files, and nothing else.
func TestHostilePatches(t *testing.T) {
	user(t)
	for name, script := range map[string]string{
		"CVE-2010-4651 a header that leads up in a text":     `printf 'x\n--- a/f\n+++ b/../outside/evil\n@@ -0,0 +1 @@\n+evil\n' >f`,
		"CVE-2018-1000156 a script of ed's in a text":        `printf 'x\n--- /dev/null\n+++ /dev/null\n1337a\n.\n1,112d\n!touch ../outside/evil\n.\n' >f`,
		"a header in a file's name":                          `printf x >"$(printf 'n\n+++ b')"; mkdir -p "$(printf 'n\n+++ b')..\n"`,
		"escapes in a file's name":                           `printf x >"$(printf '\033[2Jx\\"\t')"`,
		"CVE-2015-1196 a link, and then a file in its place": `ln -s ../outside l; git add l; git commit -qm l; rm l; mkdir l; echo evil >l/evil`,
		"CVE-2023-23946 a link out of the tree":              `ln -s ../outside/evil l; ln -s l m; ln -s m n`,
		"CVE-2019-1354 a backslash in a name":                `printf x >'..\outside\evil'`,
		"CVE-2023-25652 what is called as rejects are":       `echo y >f; ln -s ../outside/evil f.rej`,
		"binary deltas": `head -c 5000 /dev/urandom >b; git add b; git commit -qm b; printf '\0' >>b`,
		"CVE-2015-1395 renames of what was renamed": `git mv f g; git commit -qm g; git mv g f2; echo more >>f2; echo new >f`,
		"a name that is an option":                  `echo x >--index; echo x >-R`,
		"a name of 255 bytes":                       `echo x >$(printf '%0255d' 0)`,
		"modes that git has none for":               `echo x >s; chmod 6777 s`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			repo := filepath.Join(dir, "repo")
			sh(t, dir, `mkdir outside; git init -q repo; cd repo; echo 1 >f; git add f; git commit -qm one`)
			s, w := imported(t, repo, script)
			var patch bytes.Buffer
			if err := s.Patch(t.Context(), &patch, w, PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			if i := bytes.IndexFunc(bytes.ReplaceAll(patch.Bytes(), []byte("\t"), nil), func(r rune) bool { return r == 0x1b }); i >= 0 {
				t.Error("the patch has an escape of a terminal's in it")
			}
			apply := plainGit(t, repo, patch.Bytes(), "apply")
			if apply != nil {
				t.Errorf("git apply: %v\n%s", apply, &patch)
			}
			sh(t, repo, "git add -A")
			if got := strings.TrimSpace(sh(t, repo, "git write-tree")); got != w.Tree {
				t.Errorf("the tree after git apply is %s, the guest's %s", got, w.Tree)
			}
			if out := sh(t, dir, "find outside -mindepth 1; ls -d evil* 2>/dev/null || true"); out != "" {
				t.Errorf("outside there is %s", out)
			}
		})
	}
}
