package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/debian"
	"banger/internal/hint"
	"banger/internal/paths"
	"banger/internal/unixsock"
)

// Host is this host.
func Host(d paths.Dirs) Env {
	return Env{Dirs: d, UID: os.Getuid(), CPUInfo: "/proc/cpuinfo", KVM: "/dev/kvm", Look: exec.LookPath}
}

// versionLimit bounds a program's --version.
const versionLimit = 10 * time.Second

func checkQEMU(ctx context.Context, e Env) Result {
	path, err := e.Look("qemu-system-x86_64")
	if err != nil {
		return Result{Status: Fail, Detail: "qemu-system-x86_64 is not in PATH", Cost: "no VM can run", Fix: "sudo apt-get install qemu-system-x86"}
	}
	ctx, cancel := context.WithTimeout(ctx, versionLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	line, _, _ := strings.Cut(string(out), "\n")
	if err != nil {
		return Result{Status: Fail, Detail: fmt.Sprintf("%s --version: %v", path, err), Cost: "no VM can run", Fix: "sudo apt-get install --reinstall qemu-system-x86"}
	}
	return Result{Status: OK, Detail: line}
}

func checkKVM(_ context.Context, e Env) Result {
	const cost = "VMs are emulated: everything works, about ten times slower"
	text, _ := os.ReadFile(e.CPUInfo)
	real := hasFlag(string(text), "vmx") || hasFlag(string(text), "svm")
	f, err := os.OpenFile(e.KVM, os.O_RDWR, 0)
	if err == nil {
		f.Close()
	}
	switch {
	case err == nil && real:
		return Result{Status: OK, Detail: e.KVM + " opens and the CPU has hardware virtualisation"}
	case err == nil:
		return Result{Status: Warn, Cost: cost, Detail: e.KVM + " opens, but the CPU shows neither vmx nor svm: it can't run a stock kernel, and is not used"}
	case errors.Is(err, fs.ErrPermission) && real:
		return Result{Status: Warn, Cost: cost, Detail: "no right to open " + e.KVM, Fix: "sudo usermod -aG kvm $USER, then log in again"}
	case real:
		return Result{Status: Warn, Cost: cost, Detail: "the CPU has hardware virtualisation, but " + e.KVM + " can't be opened: " + err.Error(), Fix: "sudo modprobe kvm_intel || sudo modprobe kvm_amd"}
	}
	return Result{Status: Warn, Cost: cost, Detail: "this host has no hardware virtualisation"}
}

func hasFlag(cpuinfo, flag string) bool {
	for line := range strings.Lines(cpuinfo) {
		key, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(key) != "flags" {
			continue
		}
		for _, f := range strings.Fields(value) {
			if f == flag {
				return true
			}
		}
	}
	return false
}

const costBuild = "the default image and kernel can't be made; those that are here work"

func checkMmdebstrap(_ context.Context, e Env) Result {
	path, err := e.Look("mmdebstrap")
	if err != nil {
		return Result{Status: Fail, Detail: "mmdebstrap is not in PATH", Cost: costBuild, Fix: "sudo apt-get install mmdebstrap"}
	}
	return Result{Status: OK, Detail: path}
}

func checkUserNamespaces(_ context.Context, e Env) Result {
	if text, err := os.ReadFile("/proc/sys/user/max_user_namespaces"); err == nil && strings.TrimSpace(string(text)) == "0" {
		return Result{Status: Fail, Detail: "user namespaces are switched off", Cost: costBuild, Fix: "sudo sysctl user.max_user_namespaces=15000"}
	}
	if e.UID == 0 {
		return Result{Status: OK, Detail: "root needs no ids of its own"}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/unprivileged_userns_clone"); err == nil && strings.TrimSpace(string(text)) == "0" {
		return Result{Status: Fail, Detail: "unprivileged user namespaces are switched off", Cost: costBuild, Fix: "sudo sysctl kernel.unprivileged_userns_clone=1"}
	}
	if err := debian.CheckSubIDs(); err != nil {
		return Result{Status: Fail, Detail: err.Error(), Cost: costBuild, Fix: hint.Of(err)}
	}
	return Result{Status: OK, Detail: "user namespaces with ids of their own"}
}

func checkKeyring(_ context.Context, _ Env) Result {
	const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
	if _, err := os.Stat(keyring); err != nil {
		return Result{Status: Fail, Detail: "Debian's keys are not here: " + keyring, Cost: costBuild, Fix: "sudo apt-get install debian-archive-keyring"}
	}
	return Result{Status: OK, Detail: keyring}
}

func checkMke2fs(_ context.Context, e Env) Result {
	for _, p := range []string{"mke2fs", "/sbin/mke2fs", "/usr/sbin/mke2fs"} {
		if path, err := e.Look(p); err == nil {
			return Result{Status: OK, Detail: path}
		}
	}
	return Result{Status: Fail, Detail: "mke2fs is not here", Cost: "no VM can be made", Fix: "sudo apt-get install e2fsprogs"}
}

// checkDirectories looks whether each directory, or the first one above it that
// is there, can be written.
func checkDirectories(_ context.Context, e Env) Result {
	for _, d := range []string{e.Dirs.State, e.Dirs.Cache, e.Dirs.Run} {
		at := d
		for {
			_, err := os.Stat(at)
			if err == nil || !errors.Is(err, fs.ErrNotExist) || at == "/" {
				break
			}
			at = filepath.Dir(at)
		}
		if err := unix.Access(at, unix.W_OK|unix.X_OK); err != nil {
			return Result{Status: Fail, Detail: fmt.Sprintf("%s can't be written: %v", at, err), Cost: "banger can't keep " + d,
				Fix: "make it writable, or set XDG_STATE_HOME, XDG_CACHE_HOME, XDG_RUNTIME_DIR to directories of yours"}
		}
	}
	return Result{Status: OK, Detail: e.Dirs.State + ", " + e.Dirs.Cache + ", " + e.Dirs.Run}
}

// What images, kernels and a few VMs take, in bytes.
const spaceWanted = 3 << 30

func checkSpace(_ context.Context, e Env) Result {
	for _, d := range []string{e.Dirs.Cache, e.Dirs.State} {
		for at := d; ; at = filepath.Dir(at) {
			var st unix.Statfs_t
			if err := unix.Statfs(at, &st); err != nil {
				if at == "/" {
					break
				}
				continue
			}
			if free := int64(st.Bavail) * st.Bsize; free < spaceWanted {
				return Result{Status: Warn, Detail: fmt.Sprintf("%d MiB are free at %s", free>>20, at),
					Cost: "an image or a VM's disk may find it full", Fix: "banger trash empty"}
			}
			break
		}
	}
	return Result{Status: OK, Detail: "more than 3 GiB free"}
}

func checkDatabase(_ context.Context, e Env) Result {
	f, err := os.Open(e.Dirs.Database())
	if errors.Is(err, fs.ErrNotExist) {
		return Result{Status: OK, Detail: "none yet: the first VM makes it"}
	}
	const cost = "bangerd can't start; the VMs' disks are untouched"
	if err != nil {
		return Result{Status: Fail, Detail: err.Error(), Cost: cost, Fix: "make the file readable for you"}
	}
	defer f.Close()
	magic := make([]byte, 16)
	if n, _ := f.Read(magic); n > 0 && string(magic) != "SQLite format 3\x00" {
		return Result{Status: Fail, Detail: e.Dirs.Database() + " is not a database", Cost: cost,
			Fix: "mv " + e.Dirs.Database() + " " + e.Dirs.Database() + ".broken: bangerd rebuilds it from the VMs' own records"}
	}
	return Result{Status: OK, Detail: e.Dirs.Database()}
}

func checkDaemon(ctx context.Context, e Env) Result {
	c, err := unixsock.Dial(ctx, e.Dirs.Socket())
	if err != nil {
		return Result{Status: OK, Detail: "bangerd does not run: the next command starts it"}
	}
	c.Close()
	return Result{Status: OK, Detail: "bangerd answers on " + e.Dirs.Socket()}
}
