package hostconfig

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

func TestSetBlock(t *testing.T) {
	block := blockBegin + "\nx\n" + blockEnd + "\n"
	for _, tt := range []struct{ text, block, want string }{
		{"", "", ""},
		{"", "x\n", block},
		{"a", "x\n", "a\n" + block},
		{"a\n" + block, "x\n", "a\n" + block},
		{"a\n" + strings.ReplaceAll(block, "x", "y"), "x\n", "a\n" + block},
		{"a\n" + block + "b\n", "x\n", "a\nb\n" + block},
		{"a\n" + block + "b\n", "", "a\nb\n"},
		{blockBegin + "\nb\n", "", "b\n"},
		{blockEnd + "\nb\n", "", blockEnd + "\nb\n"},
		{blockBegin + "\na\n" + blockBegin + "\nb\n" + blockEnd + "\n", "", "a\n"},
	} {
		if got := setBlock(tt.text, tt.block); got != tt.want {
			t.Errorf("setBlock(%q, %q) = %q, want %q", tt.text, tt.block, got, tt.want)
		}
	}
}

func FuzzSetBlock(f *testing.F) {
	f.Add("a\n"+blockBegin+"\nx\n"+blockEnd+"\nb", "y\n")
	f.Add(blockBegin+"\r\nx\n", "")
	f.Fuzz(func(t *testing.T, text, block string) {
		if block != "" && !strings.HasSuffix(block, "\n") || strings.Contains(block, "# banger:") {
			t.Skip()
		}
		once := setBlock(text, block)
		if again := setBlock(once, block); again != once {
			t.Errorf("setBlock(%q, %q) is %q, and of that %q", text, block, once, again)
		}
		if !strings.Contains(text, "# banger:") && strings.TrimSuffix(setBlock(once, ""), "\n") != strings.TrimSuffix(text, "\n") {
			t.Errorf("setBlock(%q, %q) can't be taken back", text, block)
		}
	})
}

const list, stanzas = "/etc/apt/sources.list", "/etc/apt/sources.list.d/debian.sources"

func TestSetSources(t *testing.T) {
	apt := &Apt{ID: "debian", Codename: "bookworm", URIs: map[string][]string{
		"bookworm": {"http://10.0.0.1/debian", "http://10.0.0.2/debian"}, "bookworm-security": {"http://10.0.0.3/s"}}}
	for _, tt := range []struct{ file, text, want string }{
		{list, "deb http://a.example.org/d bookworm main # c\n", "# banger: http://10.0.0.1/debian instead of http://a.example.org/d\ndeb http://10.0.0.1/debian bookworm main # c\n"},
		{list, "deb [arch=amd64] http://a.example.org/d bookworm-backports main", "# banger: http://10.0.0.1/debian instead of http://a.example.org/d\ndeb [arch=amd64] http://10.0.0.1/debian bookworm-backports main"},
		{list, "deb http://a.example.org/d bookworm-security main\n", "# banger: http://10.0.0.3/s instead of http://a.example.org/d\ndeb http://10.0.0.3/s bookworm-security main\n"},
		{list, "deb http://10.0.0.1/debian bookworm main\n", ""},
		{list, "deb http://a.example.org/d trixie main\n", ""},
		{list, "deb http://a.example.org/d bookworm contrib\n", ""},
		{list, "deb [signed-by=/k.gpg] http://a.example.org/d bookworm main\n", ""},
		{list, "#deb http://a.example.org/d bookworm main\n", ""},
		{list, "deb [x http://a.example.org/d bookworm main\n", ""},
		{"/etc/apt/sources.list.d/vendor.list", "deb http://a.example.org/d bookworm main\n", ""},
		{stanzas, "Types: deb\nuris: http://a.example.org/d\n  http://b.example.org/d\nSuites: bookworm\nComponents: main\n\nTypes: deb\nURIs: http://c.example.org/d\nSuites: bookworm-security\nComponents: main\n",
			"Types: deb\n# banger: http://10.0.0.1/debian http://10.0.0.2/debian instead of http://a.example.org/d http://b.example.org/d\nURIs: http://10.0.0.1/debian http://10.0.0.2/debian\nSuites: bookworm\nComponents: main\n\nTypes: deb\n# banger: http://10.0.0.3/s instead of http://c.example.org/d\nURIs: http://10.0.0.3/s\nSuites: bookworm-security\nComponents: main\n"},
		{stanzas, "Enabled: no\nURIs: http://a.example.org/d\nSuites: bookworm\nComponents: main\n", ""},
		{stanzas, "URIs: http://a.example.org/d\nSuites: bookworm bookworm-security\nComponents: main\n", ""},
		{stanzas, "URIs: http://a.example.org/d\n# c\n http://b.example.org/d\nSuites: bookworm\nComponents: main\n", ""},
		{stanzas, "URIs: http://a.example.org/d\nSuites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n", ""},
	} {
		if tt.want == "" {
			tt.want = tt.text
		}
		got := SetSources(tt.text, tt.file, apt)
		if got != tt.want {
			t.Errorf("SetSources(%q) = %q, want %q", tt.text, got, tt.want)
		}
		if again := SetSources(got, tt.file, apt); again != got {
			t.Errorf("SetSources(%q) a second time = %q", got, again)
		}
		back := strings.NewReplacer("uris:", "URIs:", "\n  http", " http").Replace(tt.text)
		if got := SetSources(got, tt.file, nil); got != back {
			t.Errorf("SetSources(%q) taken back = %q, want %q", tt.text, got, back)
		}
	}
}

// A line that the user changed stays as the user wrote it.
func TestSourcesOfTheUser(t *testing.T) {
	for _, tt := range []struct{ file, text string }{
		{list, "# banger: http://10.0.0.1/d instead of http://a.example.org/d\ndeb http://mine.example.org/d trixie main\n"},
		{stanzas, "Types: deb\n# banger: http://10.0.0.1/d instead of http://a.example.org/d\nURIs: http://mine.example.org/d\nSuites: trixie\n"},
	} {
		_, want, _ := strings.Cut(tt.text, "a.example.org/d\n")
		if got := SetSources(tt.text, tt.file, nil); !strings.HasSuffix(got, want) || strings.Contains(got, "banger") {
			t.Errorf("SetSources(%q) = %q", tt.text, got)
		}
	}
}

func FuzzSetSources(f *testing.F) {
	f.Add("deb [a=b] http://a.example.org/d bookworm main # c\n", false)
	f.Add("Types: deb\nURIs: http://a.example.org/d\n http://b/\n\nSuites: bookworm\nComponents: main\n", true)
	f.Add("# banger: http://a/ instead of http://b/\nURIs: http://a/\nSuites: bookworm\nComponents: main", true)
	apt := &Apt{ID: "debian", Codename: "bookworm", URIs: map[string][]string{"bookworm": {"http://10.0.0.1/debian"}}}
	f.Fuzz(func(t *testing.T, text string, deb822 bool) {
		file := map[bool]string{true: stanzas, false: list}[deb822]
		once := SetSources(text, file, apt)
		if strings.Contains(text, "# banger:") {
			return // what the user wrote there may be anything
		}
		if again := SetSources(once, file, apt); again != once {
			t.Errorf("SetSources(%q) is %q, and of that %q", text, once, again)
		}
		words := func(s string) string { return strings.ToLower(strings.Join(strings.Fields(s), " ")) }
		if back := SetSources(once, file, nil); words(back) != words(text) && !deb822 {
			t.Errorf("SetSources(%q) taken back is %q", text, back)
		}
	})
}

// The bytes are those that keytool reads (checked by hand with that of OpenJDK 17).
func TestJavaStore(t *testing.T) {
	got := javaStore([][]byte{[]byte("first"), []byte("second")})
	sum := sha256.Sum256([]byte(got))
	const want = "0bbaf25726039bff228f73f1a4875d7ae583cf8721be7186687b102dc2c3ec1b"
	if h := hex.EncodeToString(sum[:]); h != want {
		t.Errorf("the store's digest is %s, want %s", h, want)
	}
}
