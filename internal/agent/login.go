package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Limits of open files as a login has them: systemd's own (systemd-system.conf(5),
// DefaultLimitNOFILE=). The kernel begins with 1024 and 4096.
const (
	openFilesSoft = 1024
	openFilesHard = 512 << 10
)

// limitFiles gives this process, and all that it starts, a login's limit of open files.
// By package syscall: only then does Go's runtime, which raises the soft one for
// itself, leave the limits of what is executed alone.
func limitFiles() error {
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: openFilesSoft, Max: openFilesHard})
}

// managerUnit is root's user manager, and userUnit its template, which systemd brings.
const (
	managerUnit = "user@0.service"
	userUnit    = "user@.service"
)

// pamSystemd are the places of the PAM module that tells a user manager its runtime
// directory (libpam-systemd): without it there is none.
var pamSystemd = []string{"lib/security", "lib64/security", "lib/*/security", "usr/lib/security", "usr/lib64/security", "usr/lib/*/security"}

// wantUserManager makes systemd start root's user manager at boot, as for a user who
// lingers (loginctl(1)): commands are in no session of logind's, which would take them
// into a cgroup of its own. An image that has no user managers stays as it is.
func wantUserManager(root string) (wanted bool, err error) {
	unit := ""
	for _, dir := range []string{"usr/lib/systemd/system", "lib/systemd/system"} {
		if _, err := os.Stat(filepath.Join(root, dir, userUnit)); err == nil {
			unit = "/" + dir + "/" + userUnit
			break
		}
	}
	module := false
	for _, dir := range pamSystemd {
		found, _ := filepath.Glob(filepath.Join(root, dir, "pam_systemd.so"))
		module = module || len(found) > 0
	}
	if unit == "" || !module {
		return false, nil
	}
	dir := filepath.Join(root, "run/systemd/system/multi-user.target.wants")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	err = os.Symlink(unit, filepath.Join(dir, managerUnit))
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return err == nil, err
}

// rootRuntime is root's XDG_RUNTIME_DIR.
const rootRuntime = "/run/user/0"

// prepareUserManager has root's user manager started where the image has such, and
// makes its runtime directory now: the first command may run before. systemd leaves
// one alone that is mounted (systemd-user-runtime-dir).
func prepareUserManager() error {
	wanted, err := wantUserManager("/")
	if !wanted {
		return err
	}
	if err := os.MkdirAll(rootRuntime, 0o755); err != nil {
		return err
	}
	// The size is logind's own (logind.conf(5), RuntimeDirectorySize=).
	return mount("tmpfs", rootRuntime, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700,size=10%")
}
