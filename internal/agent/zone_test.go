package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/channel/control"
)

func TestSetZone(t *testing.T) {
	image := func(t *testing.T, files ...string) string {
		root := t.TempDir()
		for _, f := range append(files, "etc/x") {
			os.MkdirAll(filepath.Dir(filepath.Join(root, f)), 0o755)
			if err := os.WriteFile(filepath.Join(root, f), []byte("old"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return root
	}
	if err := setZone(image(t), control.Zone{Name: "Test/Zone"}); err == nil || !strings.Contains(err.Error(), `"Test/Zone"`) {
		t.Errorf("setZone of what nobody describes = %v, want an error that names it", err)
	}
	const berlin = "usr/share/zoneinfo/Test/Zone"
	for name, c := range map[string]struct {
		files      []string
		zone       control.Zone
		link       string // of /etc/localtime
		text, also string // of it, and of /etc/timezone
	}{
		"known":           {[]string{berlin, "etc/timezone", "etc/localtime"}, control.Zone{Name: "Test/Zone", Data: []byte("TZif")}, "/" + berlin, "", "Test/Zone\n"},
		"not Debian":      {[]string{berlin}, control.Zone{Name: "Test/Zone"}, "/" + berlin, "", ""},
		"unknown":         {nil, control.Zone{Name: "Test/Zone", Data: []byte("TZif")}, "", "TZif", ""},
		"without a name":  {[]string{berlin}, control.Zone{Data: []byte("TZif")}, "", "TZif", ""},
		"out of the tree": {[]string{"etc/passwd"}, control.Zone{Name: "../../../etc/passwd", Data: []byte("TZif")}, "", "TZif", ""},
		"a directory":     {[]string{berlin}, control.Zone{Name: "Test", Data: []byte("TZif")}, "", "TZif", ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := image(t, c.files...)
			if err := setZone(root, c.zone); err != nil {
				t.Fatalf("setZone(%+v): %v", c.zone, err)
			}
			link, _ := os.Readlink(filepath.Join(root, "etc/localtime"))
			text, _ := os.ReadFile(filepath.Join(root, "etc/localtime"))
			also, _ := os.ReadFile(filepath.Join(root, "etc/timezone"))
			if link != c.link || string(text) != c.text || string(also) != c.also {
				t.Errorf("localtime links to %q and has %q, timezone has %q; want %q, %q, %q", link, text, also, c.link, c.text, c.also)
			}
		})
	}
}
