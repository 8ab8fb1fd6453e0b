//go:build vmtest

// These tests really build, with mmdebstrap and the network: tier vm.

package image

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/hint"
	"banger/internal/progress"
)

// temporary points TMPDIR to a directory of the test's own that everybody can
// pass, and checks at the end that nothing is left in it.
func temporary(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "banger-image-test-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("left in TMPDIR: %v, %v", left, err)
		}
		os.RemoveAll(dir)
	})
	return dir
}

func debugfs(t *testing.T, name, request string) string {
	t.Helper()
	out, err := exec.Command("/usr/sbin/debugfs", "-R", request, name).Output()
	if err != nil {
		t.Fatalf("debugfs -R %q: %v", request, err)
	}
	return string(out)
}

// defaultImage is the default image that the program has built for the other tests.
func defaultImage(t *testing.T) (path string) {
	if path = os.Getenv("BANGER_TEST_BASE"); path == "" {
		t.Skip("BANGER_TEST_BASE names no image: make test sets it")
	}
	return path
}

func TestDefaultImage(t *testing.T) {
	path := defaultImage(t)
	if fi, err := os.Stat(path); err != nil {
		t.Fatal(err)
	} else if fi.Size() > 400<<20 {
		t.Errorf("the image has %d MiB", fi.Size()>>20)
	}
	if out, err := exec.Command("/usr/sbin/e2fsck", "-fn", path).CombinedOutput(); err != nil {
		t.Errorf("e2fsck -fn: %v\n%s", err, out)
	}
	// What a Debian installation has; the kernel can let it grow while it is mounted.
	head := debugfs(t, path, "stats -h")
	for _, want := range []string{"has_journal", "64bit", "metadata_csum", "flex_bg", "resize_inode"} {
		if !strings.Contains(head, want) {
			t.Errorf("the image's file system lacks %s:\n%.600s", want, head)
		}
	}
	for request, want := range map[string]string{
		"cat /etc/shadow":         `(?m)^root::`,
		"cat /etc/default/locale": `^LANG=C.UTF-8\n$`,
		"stat /etc/machine-id":    `Size: 0\b`,
		"stat /sbin/init":         `Type: symlink`,
		"stat /etc/systemd/system/serial-getty@ttyS0.service": `Fast link dest: "/dev/null"`,
		"stat /usr/bin/sudo":        `Mode:  04755`,
		"ea_list /var/log/journal":  `system.posix_acl_access`,
		"cat /etc/apt/sources.list": `bookworm-security`,
	} {
		if got := debugfs(t, path, request); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("debugfs %q = %.300q, want %q", request, got, want)
		}
	}
	for _, p := range []string{"/usr/bin/git", "/usr/bin/curl", "/usr/bin/less", "/usr/bin/vi", "/usr/bin/ssh", "/usr/bin/ps", "/usr/bin/dbus-daemon",
		"/usr/sbin/ip", "/usr/sbin/modprobe", "/etc/ssl/certs/ca-certificates.crt", "/usr/share/bash-completion/bash_completion", "/usr/lib/systemd/systemd",
		"/usr/sbin/nft", "/usr/sbin/iptables-nft", "/usr/sbin/mke2fs", "/usr/bin/rsync", "/usr/bin/jq", "/usr/bin/zstd", "/usr/bin/unzip",
		"/usr/share/zoneinfo/Europe/Berlin", "/usr/share/terminfo/a/alacritty", "/usr/lib/x86_64-linux-gnu/security/pam_systemd.so"} {
		// debugfs does not follow /bin -> usr/bin or alternatives; the entry is enough.
		if got := debugfs(t, path, "stat "+p); !strings.Contains(got, "Inode:") {
			t.Errorf("%s is not in the image", p)
		}
	}
	for _, p := range []string{"/etc/hostname", "/etc/resolv.conf", "/etc/ssh/ssh_host_ed25519_key", "/var/lib/dbus/machine-id"} {
		if got := debugfs(t, path, "stat "+p); strings.Contains(got, "Inode:") {
			t.Errorf("%s is baked into the image", p)
		}
	}
}

func TestCancelledBuild(t *testing.T) {
	for _, at := range []string{"unpacking packages", "installing packages"} {
		t.Run(at, func(t *testing.T) {
			temporary(t)
			dir := t.TempDir()
			s, err := Open(dir, Writer{})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			var cancelled time.Time
			var said []string
			_, err = s.Build(ctx, Default, nil, func(p progress.Step) {
				said = append(said, p.Text)
				if p.Text == at && cancelled.IsZero() {
					cancelled = time.Now()
					cancel()
				}
			})
			cancel()
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Build = %v, want a cancellation", err)
			}
			if took := time.Since(cancelled); took > 5*time.Second {
				t.Errorf("Build went on for %v", took)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "tmp-*")); len(left) != 0 {
				t.Errorf("left in the store: %v", left)
			}
			// The build says what it does, step by step.
			got, want := strings.Join(slices.Compact(said), "; "), "building the Debian 12 image; reading Debian's package lists; downloading packages; unpacking packages"
			if !strings.HasPrefix(got, want) {
				t.Errorf("the steps are %q, want %q first", got, want)
			}
		})
	}
}

func TestBuildWithoutNetwork(t *testing.T) {
	temporary(t)
	t.Setenv("http_proxy", "http://127.0.0.1:9") // discard: nobody answers
	s, err := Open(t.TempDir(), Writer{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Build(context.Background(), Default, nil, progress.Discard); err == nil || !strings.Contains(hint.Of(err), "network") {
		t.Errorf("Build without a network: %v (hint %q)", err, hint.Of(err))
	}
}

// A disk that fills while packages are unpacked, and one that fills while the
// image is written.
func TestBuildOnAFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	small := func(t *testing.T, size string) string {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("none", dir, "tmpfs", 0, "mode=755,size="+size); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(dir, 0) })
		return dir
	}
	check := func(t *testing.T, store, want string) {
		s, err := Open(store, Writer{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Build(context.Background(), Default, nil, progress.Discard)
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), want) || hint.Of(err) == "" {
			t.Errorf("Build: %v (hint %q); want ENOSPC, %q and a hint", err, hint.Of(err), want)
		}
	}
	t.Run("temporary files", func(t *testing.T) {
		dir := small(t, "100m")
		t.Setenv("TMPDIR", dir)
		check(t, t.TempDir(), dir)
	})
	t.Run("store", func(t *testing.T) {
		temporary(t)
		dir := small(t, "100m")
		check(t, dir, dir)
	})
}

// The same as an ordinary user: the first who has subordinate ids.
func TestBuildAsOrdinaryUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the other tests do that: this user is not root")
	}
	text, _ := os.ReadFile("/etc/subuid")
	name, _, _ := strings.Cut(string(text), ":")
	if name == "" {
		t.Skip("no user has subordinate ids in /etc/subuid")
	}
	base, err := os.MkdirTemp("/var/tmp", "banger-image-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(base)
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	test := filepath.Join(base, "test")
	if err := os.WriteFile(test, self, 0o755); err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(base, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("chown", "-R", name, home).CombinedOutput(); err != nil {
		t.Fatalf("chown: %v: %s", err, out)
	}
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("runuser", "-u", name, "--", test, "-test.run", "^(TestDefaultImage|TestCancelledBuild)$/^unpacking", "-test.v")
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "HOME="+home, "GOCOVERDIR=", "TMPDIR=/var/tmp")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("as user %q: %v\n%s", name, err, out)
	}
}
