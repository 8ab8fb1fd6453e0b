package instance

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"banger/internal/durable"
	"banger/internal/fault"
	"banger/internal/paths"
	"banger/internal/sshkey"
)

// clientKeys are the public keys that may log in to guests: the one that banger made.
func (s *Set) clientKeys() ([]string, error) {
	s.ssh.Lock()
	defer s.ssh.Unlock()
	var key string
	err := fault.Do("start.client-key", func() (err error) {
		if err := os.MkdirAll(s.cfg.Dirs.SSH(), 0o700); err != nil {
			return err
		}
		key, err = sshkey.Keep(filepath.Join(s.cfg.Dirs.SSH(), paths.ClientKeyFile), "banger")
		return err
	})
	return []string{key}, err
}

// hostKey returns the public half of the VM's host key, which is made at the first start.
func (i *Instance) hostKey() (public string, err error) {
	err = fault.Do("start.host-key", func() (err error) {
		public, err = sshkey.Keep(filepath.Join(i.Dir(), paths.HostKeyFile), string(i.id))
		return err
	})
	if err != nil {
		err = fmt.Errorf("start VM %q: %w", i.Name(), err)
	}
	return public, err
}

// dropHostKey removes the VM's host key; one that is restored from the trash gets another.
func (i *Instance) dropHostKey() error {
	err := fault.Do("delete.host-key", func() error { return os.Remove(filepath.Join(i.Dir(), paths.HostKeyFile)) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the host key of VM %q: %w", i.Name(), err)
	}
	return nil
}

// pinHosts writes the known_hosts file of all VMs that have a host key. What can't be
// written is tried again each second: until then a client refuses the VM.
func (s *Set) pinHosts() {
	s.ssh.Lock()
	defer s.ssh.Unlock()
	var pins []sshkey.Pin
	for _, i := range s.All() {
		if r := i.View().Record; r.HostKey != "" {
			pins = append(pins, sshkey.Pin{Names: []string{r.Spec.Name + ".vm", string(r.ID) + ".vm"}, Key: r.HostKey})
		}
	}
	path := filepath.Join(s.cfg.Dirs.SSH(), paths.KnownHostsFile)
	text := sshkey.KnownHosts(pins)
	old, err := os.ReadFile(path)
	if err == nil && string(old) == string(text) || len(pins) == 0 && errors.Is(err, fs.ErrNotExist) {
		s.pinAgain = false
		return
	}
	err = fault.Do("ssh.known-hosts", func() error {
		if err := os.MkdirAll(s.cfg.Dirs.SSH(), 0o700); err != nil {
			return err
		}
		return durable.Replace(path, text)
	})
	if s.pinAgain = err != nil; err != nil {
		slog.Warn("write the VMs' host keys", "err", err)
	}
}

// pinHostsAgain writes what could not be written.
func (s *Set) pinHostsAgain() {
	s.ssh.Lock()
	again := s.pinAgain
	s.ssh.Unlock()
	if again {
		s.pinHosts()
	}
}
