package agent

import (
	"os"
	"path/filepath"
	"testing"
)

func TestKeepTemporary(t *testing.T) {
	root := t.TempDir()
	if err := keepTemporary(root); err != nil {
		t.Fatalf("an image without systemd: %v", err)
	}
	if _, err := os.Stat(filepath.Join(root, "run")); err == nil {
		t.Error("an image without systemd got a file")
	}
	if err := os.MkdirAll(filepath.Join(root, "usr/lib/tmpfiles.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	for image, want := range map[string]string{
		"# Clear\nD /tmp 1777 root root -\n#q /var/tmp 1777 root root 30d\n": "# Clear\nd /tmp 1777 root root -\n#q /var/tmp 1777 root root 30d\n",
		"D!\t/tmp 1777 root root 10d":                                        "d!\t/tmp 1777 root root 10d",
		"q /tmp 1777 root root 10d\n":                                        "q /tmp 1777 root root 10d\n",
		"D /tmp/x 0755\nD\nd /tmp -\n":                                       "D /tmp/x 0755\nD\nd /tmp -\n",
	} {
		if err := os.WriteFile(filepath.Join(root, "usr/lib/tmpfiles.d/tmp.conf"), []byte(image), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := keepTemporary(root); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(root, "run/tmpfiles.d/tmp.conf")); err != nil || string(got) != want {
			t.Errorf("%q became %q, %v; want %q", image, got, err, want)
		}
	}
}
