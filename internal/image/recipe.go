package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"banger/internal/debian"
)

// format is the version of what makes an image of a recipe, the writer of the file
// system included.
const format = 4

// recipe names what an image with these packages beside the default one's is made of,
// as far as it does not come from Debian.
func recipe(more []string) string {
	text, _ := json.Marshal([]any{format, debian.Suite, packages, adapt, more}) // no value of it can fail
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// packages are the default image's, beside what apt itself needs. No udev: the
// guest's kernel makes its devices, and booting without it is seconds shorter.
var packages = []string{
	"systemd-sysv", "dbus", "git", "ca-certificates", "iproute2", "kmod", "curl", "less", "vim-tiny",
	"openssh-client", "procps", "sudo", "bash-completion",
	"tzdata", "ncurses-term", "libpam-systemd", "dbus-user-session", "nftables", "iptables", "e2fsprogs", "rsync", "jq", "zstd", "unzip",
}

// adapt makes the tree at $1 a sandbox's; sh runs it at the end, inside the
// namespace. It must leave $1/tmp alone: mmdebstrap keeps its apt configuration
// there, and would go on with the host's.
const adapt = `set -eu
cd "$1"

# Whoever reaches the machine is root already.
chroot . passwd --delete root >/dev/null
echo 'LANG=C.UTF-8' > etc/default/locale

# Nothing identifies a machine. An empty machine-id is filled in at boot and,
# unlike an absent one, makes no "first boot" of it; the agent writes the rest.
# mmdebstrap copies the host's name and resolver.
: > etc/machine-id
rm -f etc/hostname etc/resolv.conf var/lib/dbus/machine-id etc/ssh/ssh_host_* var/lib/systemd/random-seed

# A server's host keys are made by the VM.
cat > etc/systemd/system/ssh-host-keys.service <<'EOT'
[Unit]
Description=Host keys of this VM's SSH server
ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key
Before=ssh.service ssh.socket
[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A
EOT
for unit in ssh.service ssh.socket; do
	mkdir -p "etc/systemd/system/$unit.wants"
	ln -s ../ssh-host-keys.service "etc/systemd/system/$unit.wants/"
done

mask() { for unit; do ln -sf /dev/null "etc/systemd/system/$unit"; done; }
# The console is a log, and without udev its getty would wait 90 s for a device.
mask getty@tty1.service serial-getty@ttyS0.service console-getty.service getty-static.service
# Nothing that fetches, cleans or checks by itself.
mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
	systemd-pstore.service systemd-firstboot.service
# No waiting for a network: the agent has made it before systemd starts.
mask systemd-networkd-wait-online.service

mkdir -p etc/systemd/journald.conf.d etc/systemd/system.conf.d
# The journal lives in memory: the disk is for the user's work.
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\nForwardToConsole=no\n' > etc/systemd/journald.conf.d/banger.conf
# What is freed goes back to the host, if the VMM takes it: an hour is much in a VM's life.
mkdir -p etc/systemd/system/timers.target.wants etc/systemd/system/fstrim.timer.d
ln -sf /lib/systemd/system/fstrim.timer etc/systemd/system/timers.target.wants/fstrim.timer
printf '[Timer]\nOnCalendar=\nPersistent=no\nOnBootSec=15min\nOnUnitActiveSec=1h\nRandomizedDelaySec=0\n' > etc/systemd/system/fstrim.timer.d/banger.conf
# Below banger's own grace for a stop.
printf '[Manager]\nDefaultTimeoutStopSec=8s\nDefaultDeviceTimeoutSec=10s\n' > etc/systemd/system.conf.d/banger.conf

cat >> root/.bashrc <<'EOF'

if [ -r /usr/share/bash-completion/bash_completion ]; then
	. /usr/share/bash-completion/bash_completion
fi
EOF

# Ours for the build, not the guest's.
rm -f etc/apt/apt.conf.d/99mmdebstrap
rm -f var/log/*.log var/log/apt/*
`
