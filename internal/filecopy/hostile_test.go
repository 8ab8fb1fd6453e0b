package filecopy

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func fileEntry(name string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 1, Mode: 0o644}
}

func dirEntry(name string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}
}

func linkEntry(name, to string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
}

// hostileStreams are entries of streams out of a guest, as docker cp, kubectl cp and tar
// were attacked, and what refuses them; "" if nothing has to.
var hostileStreams = map[string]struct {
	entries []*tar.Header
	refused string
}{
	"CVE-2007-4559 Python's tar: up":                {[]*tar.Header{fileEntry("item/../evil")}, "no path beneath"},
	"CVE-2001-1267 tar: up inside":                  {[]*tar.Header{fileEntry("item/a/../../evil")}, "no path beneath"},
	"CVE-2002-0399 tar: up and down":                {[]*tar.Header{fileEntry("item/./../evil")}, "no path beneath"},
	"CVE-2016-6321 tar: a member that is cut":       {[]*tar.Header{fileEntry("item/etc/motd/../evil")}, "no path beneath"},
	"CVE-2019-11251 kubectl cp: absolute":           {[]*tar.Header{fileEntry("item//etc/evil")}, "no path beneath"},
	"CVE-2021-32804 node-tar: absolute twice":       {[]*tar.Header{fileEntry("item////etc/evil")}, "no path beneath"},
	"CVE-2018-1002100 kubectl cp: beside the item":  {[]*tar.Header{fileEntry("evil")}, "has an entry"},
	"CVE-2019-1002101 kubectl cp: through a link":   {[]*tar.Header{linkEntry("item/l", "/tmp"), fileEntry("item/l/evil")}, "file exists"},
	"CVE-2019-11246 kubectl cp: through an up link": {[]*tar.Header{linkEntry("item/l", ".."), fileEntry("item/l/evil")}, "file exists"},
	"CVE-2019-11249 kubectl cp: through a chain":    {[]*tar.Header{linkEntry("item/a", "b"), linkEntry("item/b", ".."), fileEntry("item/a/evil")}, "file exists"},
	"CVE-2018-15664 docker cp: a directory swapped": {[]*tar.Header{dirEntry("item/d"), linkEntry("item/d", ".."), fileEntry("item/d/evil")}, "file exists"},
	"CVE-2021-32803 node-tar: a directory known":    {[]*tar.Header{fileEntry("item/d/a"), linkEntry("item/d", ".."), fileEntry("item/d/evil")}, "file exists"},
	"CVE-2021-37712 node-tar: by another form":      {[]*tar.Header{linkEntry("item/caf\u00e9", ".."), fileEntry("item/cafe\u0301/evil")}, ""},
	"CVE-2021-37701 node-tar: a backslash":          {[]*tar.Header{linkEntry("item/a\\", ".."), fileEntry("item/a\\/evil")}, "file exists"},
	"CVE-2018-20834 node-tar: over a link":          {[]*tar.Header{linkEntry("item/l", "../evil"), fileEntry("item/l")}, "file exists"},
	"CVE-2020-36327 a link twice":                   {[]*tar.Header{linkEntry("item/l", "a"), linkEntry("item/l", "../evil")}, "file exists"},
	"a hard link":                                   {[]*tar.Header{{Typeflag: tar.TypeLink, Name: "item/h", Linkname: "/etc/passwd"}}, "entry of type"},
	"a hard link to a link":                         {[]*tar.Header{linkEntry("item/l", "/etc/passwd"), {Typeflag: tar.TypeLink, Name: "item/h", Linkname: "item/l"}}, "entry of type"},
	"a block device":                                {[]*tar.Header{{Typeflag: tar.TypeBlock, Name: "item/dev", Devmajor: 8}}, "entry of type"},
	"a character device":                            {[]*tar.Header{{Typeflag: tar.TypeChar, Name: "item/dev", Devmajor: 1, Devminor: 1}}, "entry of type"},
	"a FIFO":                                        {[]*tar.Header{{Typeflag: tar.TypeFifo, Name: "item/fifo"}}, "entry of type"},
	"the same file twice":                           {[]*tar.Header{fileEntry("item/a"), fileEntry("item/a")}, "file exists"},
	"an empty name":                                 {[]*tar.Header{{Typeflag: tar.TypeDir, Name: "item/"}}, "no path beneath"},
	"a dot":                                         {[]*tar.Header{fileEntry("item/.")}, "no path beneath"},
	"a dot inside":                                  {[]*tar.Header{fileEntry("item/a/./b")}, "no path beneath"},
	"two dots at the end":                           {[]*tar.Header{dirEntry("item/a/..")}, "no path beneath"},
	"a long name":                                   {[]*tar.Header{fileEntry("item/" + strings.Repeat("x", 256))}, "file name too long"},
	"a long path":                                   {[]*tar.Header{fileEntry("item/" + strings.Repeat("x/", 3000) + "x")}, "file name too long"},
	"a file below a file":                           {[]*tar.Header{fileEntry("item/a"), fileEntry("item/a/b")}, "file exists"},
	"two cases of a name":                           {[]*tar.Header{fileEntry("item/a"), fileEntry("item/A")}, ""},
	"set-id bits":                                   {[]*tar.Header{{Typeflag: tar.TypeReg, Name: "item/s", Size: 1, Mode: 0o6777}, {Typeflag: tar.TypeDir, Name: "item/t/", Mode: 0o7777}}, ""},
	"control bytes":                                 {[]*tar.Header{fileEntry("item/\x1b[2J\n")}, ""},
	"another owner":                                 {[]*tar.Header{{Typeflag: tar.TypeReg, Name: "item/o", Size: 1, Mode: 0o600, Uid: 1 << 20, Gid: 1 << 20, Uname: "root"}}, ""},
	"attributes of files":                           {[]*tar.Header{{Typeflag: tar.TypeReg, Name: "item/x", Size: 1, Mode: 0o644, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\xff"}}}, ""},
	"a path in the attributes":                      {[]*tar.Header{{Typeflag: tar.TypeReg, Name: "item/../evil", Size: 1, Mode: 0o644, Format: tar.FormatPAX, PAXRecords: map[string]string{"comment": "x"}}}, "no path beneath"},
}

// Nothing is written outside, and nothing under the final name of what is refused.
func TestHostileStreams(t *testing.T) {
	t.Logf("%d hostile streams", len(hostileStreams))
	for name, c := range hostileStreams {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := t.TempDir()
			sh(t, base, `mkdir to outside; echo mine >evil; echo mine >outside/f`)
			_, err := Receive(t.Context(), streamOf(t, c.entries), Options{Dest: filepath.Join(base, "to")})
			if c.refused == "" && err != nil || c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)) {
				t.Errorf("Receive = %v, want %q", err, c.refused)
			}
			if err != nil && strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
				t.Errorf("the message has control characters: %q", err)
			}
			if now := sh(t, base, "cat evil outside/f; find . -path ./to -prune -o -print | sort"); now != "mine\nmine\n.\n./evil\n./outside\n./outside/f\n" {
				t.Errorf("the host's files are now\n%s", now)
			}
			if left := sh(t, base, "find to -mindepth 1"); err != nil && left != "" {
				t.Errorf("there is\n%s", left)
			}
			if odd := sh(t, base, "find to -perm /6000 -o ! -uid "+sh(t, base, "id -u")); odd != "" {
				t.Errorf("with bits or owners of the guest's there is\n%s", odd)
			}
		})
	}
}

// streamOf is a stream of some entries, with a byte for each file.
func streamOf(t *testing.T, entries []*tar.Header) *bytes.Buffer {
	t.Helper()
	var stream bytes.Buffer
	w := tar.NewWriter(&stream)
	text, _ := json.Marshal(Header{Items: 1})
	w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: headerName, Size: int64(len(text))})
	w.Write(text)
	for _, h := range entries {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			w.Write([]byte("x"))
		}
	}
	w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: endName})
	w.Close()
	return &stream
}

// A file that says that it has 50 GiB, nearly all of them holes, is refused in each form
// that tar has for it: reading it would take as long as if they were there.
func TestHugeHole(t *testing.T) {
	old := rawEntry('S', "item/huge", 512)
	copy(old[386:], "\x80\x00\x00\x00\x00\x00\x00\x0c\x7f\xff\xfe\x00") // the offset: 50 GiB less 512 bytes
	copy(old[398:], "00000001000\x00")
	copy(old[483:], "\x80\x00\x00\x00\x00\x00\x00\x0c\x80\x00\x00\x00") // the size
	pax := "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n30 GNU.sparse.name=item/huge2\n35 GNU.sparse.realsize=53687091200\n"
	for name, entry := range map[string][]byte{
		"GNU": append(checked(old), make([]byte, 512)...),
		"PAX": slices.Concat(checked(rawEntry('x', "item/x", len(pax))), block(pax), checked(rawEntry('0', "item/huge2", 1024)), block("1\n53687090688\n512\n"), block("x")),
	} {
		t.Run(name, func(t *testing.T) {
			to := t.TempDir()
			stream := streamOf(t, nil).Bytes()
			at := len(stream) - 3*512 // before the entry "end" and the archive's two empty blocks
			_, err := Receive(t.Context(), bytes.NewReader(slices.Concat(stream[:at], entry, stream[at:])), Options{Dest: to})
			if err == nil || !strings.Contains(err.Error(), "entry of type") {
				t.Errorf("Receive = %v", err)
			}
			if left, _ := os.ReadDir(to); len(left) > 0 {
				t.Errorf("there is %v", left)
			}
		})
	}
}

// rawEntry is a header of GNU's form, without its sum.
func rawEntry(kind byte, name string, size int) []byte {
	h := make([]byte, 512)
	copy(h, name)
	copy(h[100:], fmt.Sprintf("0000644\x000000000\x000000000\x00%011o\x0000000000000\x00", size))
	h[156] = kind
	copy(h[257:], map[bool]string{true: "ustar  \x00", false: "ustar\x0000"}[kind == 'S'])
	return h
}

// checked writes a header's sum.
func checked(h []byte) []byte {
	copy(h[148:], "        ")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

func block(text string) []byte {
	b := make([]byte, (len(text)+511)/512*512)
	copy(b, text)
	return b
}

// A guest that is asked for one file sends no other one into the directory.
func TestNotAskedFor(t *testing.T) {
	for _, name := range []string{"item/.bashrc", "item/notes/../.bashrc", "item/.envrc/x"} {
		to := t.TempDir()
		sh(t, to, "echo mine >.bashrc")
		o := Options{Dest: to, Names: []string{"notes"}}
		if _, err := Receive(t.Context(), streamOf(t, []*tar.Header{fileEntry("item/notes"), fileEntry(name)}), o); err == nil {
			t.Errorf("Receive took %s", name)
		}
		if now := sh(t, to, "cat .bashrc; ls -A"); now != "mine\n.bashrc\n" {
			t.Errorf("after %s there is\n%s", name, now)
		}
	}
	to := t.TempDir()
	if _, err := Receive(t.Context(), streamOf(t, []*tar.Header{fileEntry("item/notes")}), Options{Dest: to, Names: []string{"notes"}}); err != nil {
		t.Error(err)
	}
}

// A second copy goes beyond no link that the first one brought.
func TestPlantedLink(t *testing.T) {
	base := t.TempDir()
	sh(t, base, "mkdir to outside")
	to := Options{Dest: filepath.Join(base, "to")}
	if _, err := Receive(t.Context(), streamOf(t, []*tar.Header{linkEntry("item/d", "../outside")}), to); err != nil {
		t.Fatal(err)
	}
	if _, err := Receive(t.Context(), streamOf(t, []*tar.Header{dirEntry("item/d"), fileEntry("item/d/evil")}), to); err == nil || !strings.Contains(err.Error(), "is there already, as a file") {
		t.Errorf("Receive = %v", err)
	}
	if _, err := Receive(t.Context(), streamOf(t, []*tar.Header{fileEntry("item/d")}), to); err != nil {
		t.Error(err)
	}
	if fi, err := os.Lstat(filepath.Join(base, "to", "d")); err != nil || fi.Mode().Type() != 0 {
		t.Errorf("to/d is %v, %v", fi, err)
	}
	if left := sh(t, base, "ls -A outside"); left != "" {
		t.Errorf("outside there is %s", left)
	}
}
