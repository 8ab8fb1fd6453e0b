package testhost

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// makeKeys makes both keys of the run: the test host's and ours.
func (h *Host) makeKeys(ctx context.Context) error {
	// sshd reads the authorized keys as the user who comes. Our own private key
	// stays here.
	if err := os.Mkdir(filepath.Join(h.dir, "ssh"), 0o755); err != nil {
		return err
	}
	for _, key := range []string{"ssh/host_key", "key"} {
		out, err := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test-host", "-f", filepath.Join(h.dir, key)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("make an SSH key: %w: %s", err, out)
		}
	}
	pub, err := os.ReadFile(filepath.Join(h.dir, "key.pub"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(h.dir, "ssh", "authorized_keys"), pub, 0o644)
}

// knowHost writes the one known host.
func (h *Host) knowHost() error {
	pub, err := os.ReadFile(filepath.Join(h.dir, "ssh", "host_key.pub"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(h.dir, "known_hosts"), append([]byte("test-host "), pub...), 0o600)
}

func (h *Host) sshArgs(c Command) []string {
	user := c.User
	if user == "" {
		user = User
	}
	args := []string{"-F", "/dev/null", "-p", strconv.Itoa(h.port), "-l", user, "-i", filepath.Join(h.dir, "key")}
	for _, option := range []string{
		"IdentitiesOnly=yes", "IdentityAgent=none", "BatchMode=yes", "LogLevel=ERROR",
		"HostKeyAlias=test-host", "StrictHostKeyChecking=yes", "GlobalKnownHostsFile=/dev/null",
		"UserKnownHostsFile=" + filepath.Join(h.dir, "known_hosts"),
		"ConnectTimeout=" + strconv.Itoa(sshConnects), "ServerAliveInterval=15", "ServerAliveCountMax=8",
		// The emulated processor has AES instructions.
		"Ciphers=aes128-gcm@openssh.com",
	} {
		args = append(args, "-o", option)
	}
	if c.Terminal {
		args = append(args, "-t")
	} else {
		args = append(args, "-T")
	}
	if c.Stdin == nil {
		args = append(args, "-n")
	}
	return append(args, "127.0.0.1", line(c))
}

// line is what the user's login shell gets.
func line(c Command) string {
	var b strings.Builder
	if c.Dir != "" {
		b.WriteString("cd " + Quote(c.Dir) + " && ")
	}
	words := c.Args
	if len(words) == 0 {
		words = []string{"bash", "-l"}
	}
	if len(c.Env) > 0 {
		words = append(append([]string{"env"}, c.Env...), words...)
	}
	for i, w := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(Quote(w))
	}
	// The shell stays, so a death by signal has a status.
	fmt.Fprintf(&b, "; s=$?; [ $s != %d ] || s=%d; exit $s", sshFailed, insteadOf)
	return b.String()
}

// Quote makes one word of a shell of any text.
func Quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
