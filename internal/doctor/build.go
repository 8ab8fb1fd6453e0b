package doctor

import (
	"context"
	"os"
	"strings"

	"banger/internal/debian"
	"banger/internal/hint"
)

// costBuild is what lacks cost that only building images and kernels needs.
const costBuild = "the default image and kernel can't be made; those that are here work"

func checkMmdebstrap(_ context.Context, e Env) Result {
	path, err := e.Look("mmdebstrap")
	if err != nil {
		return Result{Status: Fail, Detail: "mmdebstrap is not in PATH", Cost: costBuild, Fix: e.sudo("apt-get install mmdebstrap")}
	}
	return Result{Status: OK, Detail: path}
}

// checkUserNamespaces: mmdebstrap unpacks packages in a user namespace with the
// user's subordinate ids, root with its own.
func checkUserNamespaces(_ context.Context, e Env) Result {
	off := func(sysctl, value string) bool {
		text, err := os.ReadFile(e.Proc + "/sys/" + strings.ReplaceAll(sysctl, ".", "/"))
		return err == nil && strings.TrimSpace(string(text)) == value
	}
	if off("user.max_user_namespaces", "0") {
		return Result{Status: Fail, Detail: "user namespaces are switched off", Cost: costBuild, Fix: e.sudo("sysctl user.max_user_namespaces=15000")}
	}
	if e.UID == 0 {
		return Result{Status: OK, Detail: "root needs no subordinate ids"}
	}
	if off("kernel.unprivileged_userns_clone", "0") {
		return Result{Status: Fail, Detail: "unprivileged user namespaces are switched off", Cost: costBuild, Fix: e.sudo("sysctl kernel.unprivileged_userns_clone=1")}
	}
	if err := debian.CheckSubIDs(); err != nil {
		return Result{Status: Fail, Detail: err.Error(), Cost: costBuild, Fix: hint.Of(err)}
	}
	if off("kernel.apparmor_restrict_unprivileged_userns", "1") {
		return Result{Status: Warn, Detail: "AppArmor lets only programs with a profile make user namespaces",
			Cost: "without a profile for mmdebstrap, " + costBuild, Fix: e.sudo("sysctl kernel.apparmor_restrict_unprivileged_userns=0")}
	}
	return Result{Status: OK, Detail: "user namespaces with subordinate ids"}
}

func checkKeyring(_ context.Context, e Env) Result {
	path, err := debian.CheckKeys()
	if err != nil {
		return Result{Status: Fail, Detail: err.Error(), Cost: costBuild, Fix: e.sudo("apt-get install debian-archive-keyring")}
	}
	return Result{Status: OK, Detail: path}
}

func checkMke2fs(_ context.Context, e Env) Result {
	for _, p := range []string{"mke2fs", "/sbin/mke2fs", "/usr/sbin/mke2fs"} {
		if path, err := e.Look(p); err == nil {
			return Result{Status: OK, Detail: path}
		}
	}
	return Result{Status: Fail, Detail: "mke2fs is neither in PATH nor in /sbin", Cost: "no image can be built", Fix: e.sudo("apt-get install e2fsprogs")}
}
