package image

// packages are the default image's, beside what apt itself needs.
var packages = []string{
	"systemd-sysv", "dbus", "git", "ca-certificates", "iproute2", "kmod", "curl", "less", "vim-tiny",
	"openssh-client", "procps", "sudo", "bash-completion",
}

// hooks make the tree a sandbox's: root has no password (whoever reaches the
// machine is root already), nothing identifies a machine, and nothing runs by
// itself that a short-lived machine has no use for.
var hooks = []string{
	`chroot "$1" passwd -d root >/dev/null`,
	`echo 'LANG=C.UTF-8' > "$1/etc/default/locale"`,
	// An empty machine-id is filled in at boot; an absent host name is the
	// kernel's, which the agent sets.
	`: > "$1/etc/machine-id"; rm -f "$1/etc/hostname" "$1/var/lib/dbus/machine-id" "$1"/etc/ssh/ssh_host_*`,
	// No getty: the console is a log, and without udev its getty would wait for
	// the device for 90 s.
	`for u in getty@tty1.service serial-getty@ttyS0.service getty.target console-getty.service; do
	ln -sf /dev/null "$1/etc/systemd/system/$u"; done`,
	// No timers that fetch or clean: they would run minutes after boot.
	`for u in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer e2scrub_reap.service systemd-pstore.service; do
	ln -sf /dev/null "$1/etc/systemd/system/$u"; done`,
	// The journal lives in memory: the disk is for the user's work.
	`mkdir -p "$1/etc/systemd/journald.conf.d"; printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\n' > "$1/etc/systemd/journald.conf.d/banger.conf"`,
	`rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/var/log/*.log "$1"/var/log/apt "$1"/tmp/*`,
}
