package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoad(t *testing.T) {
	for _, c := range []struct {
		text string
		vmm  string
		want string // of the error
	}{
		{"", "", ""},
		{"# nothing\n\nvmm = \"qemu\"\n", "qemu", ""},
		{"\nvmn = \"qemu\"\n", "", `line 2: key "vmn" is not known`},
		{"vmm = 3\n", "", `line 1: key "vmm"`},
		{"vmm = \"qemu\nx\n", "", "line 1: "},
		{"[vmm]\nx = 1\n", "", "line 1"},
	} {
		path := filepath.Join(t.TempDir(), File)
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Load(path)
		switch {
		case c.want == "" && (err != nil || got.VMM != c.vmm):
			t.Errorf("Load(%q) = %+v, %v; want VMM %q", c.text, got, err, c.vmm)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path)):
			t.Errorf("Load(%q): %v; want the file and %q", c.text, err, c.want)
		}
	}
	if got, err := Load(filepath.Join(t.TempDir(), File)); err != nil || got != (Config{}) {
		t.Errorf("Load of no file = %+v, %v; want nothing set", got, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("vmm = \"qemu\"\n")
	f.Add("vmm = [1]\n[x]\n")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := parse([]byte(text)); err != nil && c != (Config{}) {
			t.Errorf("parse(%q) = %+v, %v", text, c, err)
		}
	})
}
