// Package paths says where banger keeps things on the host: the XDG base
// directories, and every name below them. It makes and removes nothing.
package paths

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"syscall"

	"banger/internal/vm"
)

// Dirs are banger's directories on this host, absolute.
type Dirs struct {
	Config string // config.toml
	State  string // database, VMs, trash, logs, sockets: nothing here can be fetched again
	Cache  string // images, kernels: all of it can be made again
}

// Host reads the environment as the XDG base directory specification (0.8)
// says. If HOME is unset, the password database's home is taken.
//
// Sockets lie in the state directory, beside the lock and the VMs that they
// belong to, and not in XDG_RUNTIME_DIR: whoever finds the state directory finds
// what runs, whatever the rest of the environment says, and neither a logout nor
// a cleaner takes a socket away from under a running VM.
func Host() (Dirs, error) {
	home := func() (string, error) {
		if h := os.Getenv("HOME"); h != "" {
			return h, nil
		}
		if u, err := user.Current(); err == nil && u.HomeDir != "" {
			return u.HomeDir, nil
		}
		return "", errors.New("HOME is unset and the user has no home directory in the password database")
	}
	return resolve(os.Getenv, home)
}

func resolve(getenv func(string) string, home func() (string, error)) (Dirs, error) {
	base := func(env, below string) (string, error) {
		if v := getenv(env); v != "" {
			if !filepath.IsAbs(v) {
				return "", fmt.Errorf("%s is %q, which is not an absolute path", env, v)
			}
			return filepath.Join(v, "banger"), nil
		}
		h, err := home()
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(h) {
			return "", fmt.Errorf("HOME is %q, which is not an absolute path", h)
		}
		return filepath.Join(h, below, "banger"), nil
	}
	var d Dirs
	var err error
	if d.Config, err = base("XDG_CONFIG_HOME", ".config"); err != nil {
		return Dirs{}, err
	}
	if d.State, err = base("XDG_STATE_HOME", ".local/state"); err != nil {
		return Dirs{}, err
	}
	if d.Cache, err = base("XDG_CACHE_HOME", ".cache"); err != nil {
		return Dirs{}, err
	}
	return d, nil
}

// From is what of the environment says where a directory lies: the variable of that name
// if it is set, else HOME.
func From(variable string) string {
	if os.Getenv(variable) != "" {
		return variable
	}
	return "HOME"
}

// Socket is bangerd's API socket.
func (d Dirs) Socket() string { return filepath.Join(d.State, "bangerd.sock") }

// Lock is held by the one daemon of the state directory.
func (d Dirs) Lock() string { return filepath.Join(d.State, "bangerd.lock") }

// Database is the SQLite file.
func (d Dirs) Database() string { return filepath.Join(d.State, "banger.db") }

// DaemonLog is bangerd's log.
func (d Dirs) DaemonLog() string { return filepath.Join(d.State, "bangerd.log") }

// VMs holds a directory for each VM.
func (d Dirs) VMs() string { return filepath.Join(d.State, "vms") }

// VM is the directory of one VM: vm.json, data disk, console
// log, sockets.
func (d Dirs) VM(id vm.ID) string { return filepath.Join(d.VMs(), string(id)) }

// Base holds the images and kernels that VMs were made from.
func (d Dirs) Base() string { return filepath.Join(d.State, "base") }

// Trash holds deleted VMs' directories for a while.
func (d Dirs) Trash() string { return filepath.Join(d.State, "trash") }

// Work holds what came out of workspaces, a directory each. It outlives the VMs.
func (d Dirs) Work() string { return filepath.Join(d.State, "work") }

// SSH holds what stock SSH clients need: banger's client key, the VMs' host keys pinned,
// the clients' configuration.
func (d Dirs) SSH() string { return filepath.Join(d.State, "ssh") }

// Names inside SSH.
const (
	ClientKeyFile  = "id_ed25519"
	KnownHostsFile = "known_hosts"
	SSHConfigFile  = "config"
)

// Images holds base images by digest.
func (d Dirs) Images() string { return filepath.Join(d.Cache, "images") }

// Kernels holds kernels by digest.
func (d Dirs) Kernels() string { return filepath.Join(d.Cache, "kernels") }

// Names inside a VM's directory.
const (
	RecordFile  = "vm.json"
	DiskFile    = "disk"
	ConsoleFile = "console.log"
	HostKeyFile = "ssh_host_key" // private
	// EnvironmentFile has variables of the command that made the VM. It is private.
	EnvironmentFile = "environment"
)

// Memory are directories in memory, for what must not go to a disk that may be full, the
// preferred one first: XDG_RUNTIME_DIR's, if that is this user's (su keeps another's),
// and the one that every Linux has, where other users may have been faster.
func Memory() (dirs []string) {
	if run := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(run) && own(run) {
		dirs = append(dirs, filepath.Join(run, "banger"))
	}
	return append(dirs, fmt.Sprintf("/dev/shm/banger-%d", os.Getuid()))
}

// own reports whether path is this user's.
func own(path string) bool {
	fi, err := os.Stat(path)
	if err != nil {
		return false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Getuid()
}
