package agent

import (
	"os"
	"path/filepath"
	"testing"
)

// Root's user manager is wanted only in an image that can have one.
func TestG1WantUserManager(t *testing.T) {
	const unit, module = "usr/lib/systemd/system/user@.service", "usr/lib/x86_64-linux-gnu/security/pam_systemd.so"
	for _, test := range []struct {
		files []string
		want  string
	}{
		{nil, ""},
		{[]string{unit}, ""},
		{[]string{module}, ""},
		{[]string{unit, module}, "/" + unit},
		{[]string{"lib/systemd/system/user@.service", "lib/security/pam_systemd.so"}, "/lib/systemd/system/user@.service"},
	} {
		root := t.TempDir()
		for _, f := range test.files {
			path := filepath.Join(root, f)
			os.MkdirAll(filepath.Dir(path), 0o755)
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // a repeat changes nothing
			if got, err := wantUserManager(root); got != (test.want != "") || err != nil {
				t.Errorf("with %q: %t, %v", test.files, got, err)
			}
		}
		if got, _ := os.Readlink(filepath.Join(root, "run/systemd/system/multi-user.target.wants/user@0.service")); got != test.want {
			t.Errorf("with %q the link leads to %q, want %q", test.files, got, test.want)
		}
	}
}
