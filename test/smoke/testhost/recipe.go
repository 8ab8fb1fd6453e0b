package testhost

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"banger/internal/debian"
)

// format is of the image's files: raise it when how they are made changes.
const format = 2

// rootMiB is the size of the root file system; the file is sparse.
const rootMiB = 12 << 10

// packages are the test host's, beside what apt itself needs: what banger asks
// of a Debian host, a machine with a user manager, and what scenarios look with.
var packages = []string{
	"systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "udev", "kmod", "linux-image-cloud-amd64", "openssh-server",
	"qemu-system-x86", "mmdebstrap", "uidmap", "debian-archive-keyring", "e2fsprogs", "ca-certificates",
	"iproute2", "nftables", "iptables", "dmsetup", "iputils-ping", "git", "curl", "procps", "psmisc", "strace", "less", "sudo",
}

// recipe is the digest of all that decides what is in an image, but for the
// day's packages.
func recipe() string {
	sum := sha256.Sum256([]byte(fmt.Sprintf("%d %d %s\n%s\n%s", format, rootMiB, debian.Suite, strings.Join(packages, " "), adapt)))
	return hex.EncodeToString(sum[:])[:16]
}

// adapt makes the tree at $1 the test host's; sh runs it at the end, inside
// mmdebstrap's namespace. It must leave $1/tmp alone, where mmdebstrap keeps
// its apt configuration.
const adapt = `set -eu
cd "$1"

# user may open /dev/kvm, other may not; root is reached by the key alone.
chroot . useradd --uid ` + userID + ` --create-home --shell /bin/bash --groups kvm,systemd-journal ` + User + `
chroot . useradd --uid ` + otherID + ` --create-home --shell /bin/bash --groups systemd-journal ` + Other + `
echo '` + User + ` ALL=(ALL) NOPASSWD: ALL' > etc/sudoers.d/user
# A user manager that is there whoever is logged in.
mkdir -p var/lib/systemd/linger
: > var/lib/systemd/linger/` + User + `
: > var/lib/systemd/linger/` + Other + `

# QEMU emulates neither virtual GIF nor virtual VMLOAD well, and nothing here
# runs a VM in a VM in a VM.
echo 'options kvm_amd nested=0 npt=1 vgif=0 vls=0' > etc/modprobe.d/kvm.conf
echo 'kvm_amd' > etc/modules-load.d/kvm.conf

echo 'LANG=C.UTF-8' > etc/default/locale
echo testhost > etc/hostname
printf '127.0.0.1 localhost\n127.0.1.1 testhost\n' > etc/hosts
echo 'nameserver 10.0.2.3' > etc/resolv.conf
echo '/dev/vda / ext4 defaults 0 0' > etc/fstab
rm -f etc/machine-id var/lib/dbus/machine-id etc/ssh/ssh_host_* var/lib/systemd/random-seed
: > etc/machine-id

# QEMU's user-mode network: always the same addresses.
cat > etc/systemd/network/10-eth.network <<'EOT'
[Match]
Name=eth0
[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
LinkLocalAddressing=no
IPv6AcceptRA=no
EOT

# What the run hands in comes as a tar on the second disk, and is unpacked once; a
# writable view of it is the user's.
cat > etc/systemd/system/handed.service <<'EOT'
[Unit]
Description=What the run hands in
DefaultDependencies=no
After=local-fs.target systemd-modules-load.service
Before=ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/mkdir -p ` + HandedAsIs + ` ` + Handed + ` /var/lib/handed/upper /var/lib/handed/work
ExecStart=/bin/sh -c 'test -e /var/lib/handed/done || { tar -x -f /dev/vdb -C ` + HandedAsIs + ` && sync && touch /var/lib/handed/done; }'
ExecStart=/bin/chown ` + User + `: /var/lib/handed/upper
ExecStart=/bin/mount -t overlay -o lowerdir=` + HandedAsIs + `,upperdir=/var/lib/handed/upper,workdir=/var/lib/handed/work overlay ` + Handed + `
[Install]
WantedBy=multi-user.target
EOT
cat > etc/systemd/system/ready.service <<'EOT'
[Unit]
Description=Tell the run that SSH answers
After=ssh.service handed.service systemd-networkd.service systemd-user-sessions.service user@` + userID + `.service dev-kvm.device
Requires=ssh.service handed.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo; echo ` + readyLine + ` > /dev/ttyS0'
StandardOutput=journal
[Install]
WantedBy=multi-user.target
EOT
cat > etc/ssh/sshd_config.d/testhost.conf <<'EOT'
HostKey ` + HandedAsIs + `/ssh/host_key
AuthorizedKeysFile ` + HandedAsIs + `/ssh/authorized_keys
PasswordAuthentication no
PermitRootLogin prohibit-password
UseDNS no
MaxStartups 64
MaxSessions 64
EOT
chroot . systemctl enable systemd-networkd.service handed.service ready.service ssh.service >/dev/null 2>&1

mask() { for unit; do ln -sf /dev/null "etc/systemd/system/$unit"; done; }
mask getty@tty1.service serial-getty@ttyS0.service console-getty.service getty-static.service
mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
	fstrim.timer systemd-pstore.service systemd-firstboot.service systemd-networkd-wait-online.service \
	ldconfig.service systemd-update-utmp.service systemd-update-utmp-runlevel.service

mkdir -p etc/systemd/journald.conf.d etc/systemd/system.conf.d
# The journal is read after a reboot of the host too.
printf '[Journal]\nStorage=persistent\nSystemMaxUse=64M\nRateLimitBurst=0\n' > etc/systemd/journald.conf.d/testhost.conf
printf '[Manager]\nDefaultTimeoutStopSec=20s\n' > etc/systemd/system.conf.d/testhost.conf

rm -f etc/apt/apt.conf.d/99mmdebstrap
rm -f var/log/*.log var/log/apt/*
rm -rf usr/share/doc usr/share/man usr/share/locale
`
