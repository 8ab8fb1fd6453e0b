package sshkey

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func TestKeep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	made, err := Keep(path, "banger")
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o600 {
		t.Errorf("the key's file: %v, %v; want mode 0600", fi.Mode(), err)
	}
	if key, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(made)); err != nil || key.Type() != ssh.KeyAlgoED25519 || comment != "" {
		t.Errorf("Keep = %q: %v", made, err)
	}
	if again, err := Keep(path, "banger"); err != nil || again != made {
		t.Errorf("Keep again = %q, %v; want %q", again, err, made)
	}
	if err := os.WriteFile(path, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Keep(path, "banger"); err == nil {
		t.Errorf("Keep of a damaged file = %q, want an error", got)
	}
	if text, _ := os.ReadFile(path); !bytes.Equal(text, []byte("no key")) {
		t.Errorf("a damaged file is replaced by %q", text)
	}
}

func TestKnownHosts(t *testing.T) {
	dir := t.TempDir()
	var keys []ssh.PublicKey
	var pins []Pin
	for _, name := range []string{"a.vm", "b.vm"} {
		line, err := Keep(filepath.Join(dir, name), "")
		if err != nil {
			t.Fatal(err)
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
		pins = append(pins, Pin{[]string{name, "id-of-" + name}, line})
	}
	path := filepath.Join(dir, "known_hosts")
	if err := os.WriteFile(path, KnownHosts(pins), 0o600); err != nil {
		t.Fatal(err)
	}
	check, err := knownhosts.New(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		key ssh.PublicKey
		ok  bool
	}{"a.vm": {keys[0], true}, "id-of-b.vm": {keys[1], true}, "b.vm": {keys[0], false}, "c.vm": {keys[0], false}} {
		if err := check(net.JoinHostPort(name, "22"), &net.TCPAddr{}, test.key); (err == nil) != test.ok {
			t.Errorf("the key of %s: %v", name, err)
		}
	}
}
