package qemu

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"banger/internal/landlock"
	"banger/internal/launch"
	"banger/internal/vmm"
)

// files makes files of the given sizes and returns their paths.
func files(t *testing.T, sizes ...int64) []string {
	t.Helper()
	var paths []string
	for range sizes {
		paths = append(paths, filepath.Join(t.TempDir(), "f"))
	}
	for i, path := range paths {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, sizes[i]); err != nil {
			t.Fatal(err)
		}
	}
	return paths
}

// What stands in QEMU's place tries files: the machine's, and others.
func TestLaunchConfines(t *testing.T) {
	if v, err := landlock.Version(); v == 0 {
		t.Skip(err)
	}
	f := files(t, 4, 512, 4096, 4)
	s := machineSpec()
	s.Kernel, s.Initrd = f[0], f[1]
	s.Disks = []vmm.Disk{{Path: f[2]}, {Path: f[1], ReadOnly: true}}
	for _, c := range []struct {
		try string
		ok  bool
	}{
		{"cat " + f[0], true},
		{"cat " + f[1], true},
		{"echo x >>" + f[0], false},
		{"echo x >>" + f[1], false},
		{"echo x 1<>" + f[2], true},
		{"dd if=/dev/urandom of=" + f[2] + " bs=4k count=1 conv=notrunc", true},
		{"cat " + f[3], false},
		{"echo x >" + f[3], false},
		{"ls " + filepath.Dir(f[3]), false},
		{"echo x >" + filepath.Dir(f[2]) + "/new", false},
		{"cat /etc/passwd", false},
	} {
		_, err := fake(t, "if ("+c.try+") >/dev/null 2>&1; then echo it went; else echo refused; fi >&2; exit 1").Launch(t.Context(), s)
		if err == nil {
			t.Fatal("Launch: no error")
		}
		if got := strings.Contains(err.Error(), "it went"); got != c.ok || !got && !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s in QEMU's place: %v, want success %v", c.try, err, c.ok)
		}
	}
}

// A QEMU without seccomp is started without its sandbox, and the machine says so.
func TestGaps(t *testing.T) {
	const talks = fakeGreeting + `read line <&3; echo '{"id": 1, "return": {}}' >&3; exec sleep 60`
	old := `if [ "$1" = --version ]; then echo QEMU emulator version 7.2.22; exit; fi
		for a in "$@"; do if [ "$a" = -sandbox ]; then echo refused >&2; exit 1; fi; done
		` + talks
	with := fake(t, talks)
	without := fake(t, "")
	if err := os.WriteFile(without.config.Binary, []byte("#!/bin/sh\n"+old+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for d, want := range map[*Driver]bool{with: false, without: true} {
		m, err := d.Launch(t.Context(), launchSpec())
		if err != nil {
			t.Fatal(err)
		}
		m.Close()
		if got := m.Gaps(); slices.Contains(got, gapSandbox) != want || !slices.Contains(got, gapScript) {
			t.Errorf("Gaps() = %q, want that it is a script, and that seccomp is missing: %v", got, want)
		}
	}
}

// QEMU's own files are where its program really lies, and the home directory of
// a QEMU in ~/bin is not among them.
func TestConfineFindsQEMUsOwnFiles(t *testing.T) {
	home := t.TempDir()
	for _, dir := range []string{"bin", "opt/qemu/bin"} {
		if err := os.MkdirAll(filepath.Join(home, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	real, link := filepath.Join(home, "opt/qemu/bin/qemu"), filepath.Join(home, "bin/qemu")
	if err := os.WriteFile(real, []byte("\x7fELF"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	var spec launch.Spec
	if gaps := confine(&spec, link, machineSpec()); gaps != nil {
		t.Errorf("gaps %q, want none", gaps)
	}
	if want := filepath.Join(home, "opt/qemu/share/qemu"); !slices.Contains(spec.Access.Read, want) {
		t.Errorf("QEMU may read %q, want %s among it", spec.Access.Read, want)
	}
	for _, list := range [][]string{spec.Access.Read, spec.Access.Write, spec.Access.Execute} {
		if slices.Contains(list, home) || slices.Contains(list, filepath.Join(home, "opt/qemu")) {
			t.Errorf("QEMU may use %q", list)
		}
	}
}
