// Package sshkey makes and keeps banger's own SSH keys, ed25519: a client's, which no user
// has, and a host key for each VM, with the known_hosts file that pins it.
package sshkey

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"

	"banger/internal/durable"
	"banger/internal/hint"
)

// Keep returns the public key, as a line of authorized_keys (sshd(8)), of the private one
// in the file at path, and makes that file, mode 0600, if there is none. Its directory
// must exist. Two calls for one file must not be made at once.
func Keep(path, comment string) (public string, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return create(path, comment)
	}
	if err != nil {
		return "", err
	}
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return "", hint.Add(fmt.Errorf("read the SSH key %q: %w", path, err), "remove it: a new one is made at the next start of a VM")
	}
	return line(key.PublicKey()), nil
}

func create(path, comment string) (string, error) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return "", err
	}
	if err := durable.Replace(path, pem.EncodeToMemory(block)); err != nil {
		return "", err
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		return "", err
	}
	return line(public), nil
}

func line(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// Pin is a host and the key that it has to have.
type Pin struct {
	Names []string // each without a space or a comma
	Key   string   // as Keep returns it
}

// KnownHosts is the text of a known_hosts file (sshd(8)) that has the pins.
func KnownHosts(pins []Pin) []byte {
	var b strings.Builder
	b.WriteString("# banger writes this file anew whenever a VM is started, renamed or deleted.\n")
	for _, p := range pins {
		fmt.Fprintf(&b, "%s %s\n", strings.Join(p.Names, ","), p.Key)
	}
	return []byte(b.String())
}
