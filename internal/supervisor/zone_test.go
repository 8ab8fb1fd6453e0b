package supervisor

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"banger/internal/vm"
)

func TestHostZone(t *testing.T) {
	const data = "TZif2 of Berlin"
	for name, c := range map[string]struct {
		localtime, link, timezone string
		name, data                string
	}{
		"a link":            {"", "../usr/share/zoneinfo/Europe/Berlin", "Old/Name\n", "Europe/Berlin", data},
		"a copy":            {data, "", "Europe/Berlin\n", "Europe/Berlin", data},
		"a copy, no name":   {data, "", "", "", data},
		"nothing":           {"", "", "Europe/Berlin\n", "Etc/UTC", utc},
		"a link to nothing": {"", "../usr/share/zoneinfo/No/Where", "", "Etc/UTC", utc},
		"something else":    {"hello", "", "", "Etc/UTC", utc},
		"too large":         {"TZif" + string(make([]byte, maxZone)), "", "", "Etc/UTC", utc},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			write := func(path, text string) {
				path = filepath.Join(root, path)
				os.MkdirAll(filepath.Dir(path), 0o755)
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			write("etc/x", "")
			write("usr/share/zoneinfo/Europe/Berlin", data)
			if c.localtime != "" {
				write("etc/localtime", c.localtime)
			}
			if c.link != "" {
				if err := os.Symlink(c.link, filepath.Join(root, "etc/localtime")); err != nil {
					t.Fatal(err)
				}
			}
			if c.timezone != "" {
				write("etc/timezone", c.timezone)
			}
			if z := hostZone(filepath.Join(root, "etc")); z.Name != c.name || string(z.Data) != c.data {
				t.Errorf("hostZone = %q, %.20q; want %q, %.20q", z.Name, z.Data, c.name, c.data)
			}
		})
	}
}

func TestUTC(t *testing.T) {
	z := zoneOf(vm.ZoneUTC)
	l, err := time.LoadLocationFromTZData(z.Name, z.Data)
	if err != nil {
		t.Fatal(err)
	}
	if name, offset := time.Now().In(l).Zone(); name != "UTC" || offset != 0 {
		t.Errorf("the time is in %q, %d s", name, offset)
	}
	if zoneOf("") != nil || zoneOf(vm.ZoneNone) != nil {
		t.Error("a VM without a wish gets a time zone")
	}
	if z := zoneOf("No/Such"); z.Name != "No/Such" || z.Data != nil {
		t.Errorf("a zone that the host does not know is %+v", z)
	}
}
