package config

import (
	"os"
	"path/filepath"
	"reflect"
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
	if got, err := Load(filepath.Join(t.TempDir(), File)); err != nil || !reflect.DeepEqual(got, Config{}) {
		t.Errorf("Load of no file = %+v, %v; want nothing set", got, err)
	}
}

func TestBounds(t *testing.T) {
	def := Config{}.Bounds()
	for _, c := range []struct {
		text string
		want Bounds
		err  string
	}{
		{"", def, ""},
		{"saved_max_per_vm = \"512M\"\n", Bounds{512 << 20, def.SavedTotal, def.UnsavedVMs}, ""},
		{"saved_max_total = \"1T\"\nunsaved_max = 1\n", Bounds{def.SavedPerVM, 1 << 40, 1}, ""},
		{"\nsaved_max_total = \"4x\"\n", Bounds{}, `line 2: key "saved_max_total": size "4x"`},
		{"saved_max_total = \"9000000T\"\n", Bounds{}, "too large"},
		{"saved_max_per_vm = 4\n", Bounds{4 << 20, def.SavedTotal, def.UnsavedVMs}, ""},
		{"saved_max_per_vm = true\n", Bounds{}, `size "true"`},
		{"unsaved_max = 0\n", Bounds{}, `key "unsaved_max": 0 is below 1`},
		{"unsaved_max = \"many\"\n", Bounds{}, `line 1: key "unsaved_max"`},
	} {
		got, err := parse([]byte(c.text))
		switch {
		case c.err == "" && (err != nil || got.Bounds() != c.want):
			t.Errorf("parse(%q): %+v, %v; want %+v", c.text, got.Bounds(), err, c.want)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("parse(%q): %v; want %q", c.text, err, c.err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("vmm = \"qemu\"\n")
	f.Add("vmm = [1]\n[x]\n")
	f.Add("saved_max_per_vm = \"4G\"\nunsaved_max = 3\n")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := parse([]byte(text)); err != nil && !reflect.DeepEqual(c, Config{}) {
			t.Errorf("parse(%q) = %+v, %v", text, c, err)
		}
	})
}

func TestNetwork(t *testing.T) {
	c, err := parse([]byte("[network]\negress = \"dev\"\nallow = [\"example.org\"]\nmirrors = false\nproxy_resolves = true\n"))
	no := false
	want := Network{Egress: "dev", Allow: []string{"example.org"}, Mirrors: &no, ProxyResolves: true}
	if err != nil || !reflect.DeepEqual(c.Network, want) {
		t.Errorf("parse: %+v, %v; want %+v", c.Network, err, want)
	}
	if _, err := parse([]byte("[network]\negres = \"dev\"\n")); err == nil || !strings.Contains(err.Error(), `line 2: key "network.egres" is not known`) {
		t.Errorf("an unknown key: %v", err)
	}
}
