package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"banger/internal/autostart"
	"banger/internal/durable"
	"banger/internal/paths"
	"banger/internal/sshconfig"
)

func (a *app) sshConfig() *cobra.Command {
	var install, uninstall bool
	cmd := &cobra.Command{
		Use:   "ssh-config [--install|--uninstall]",
		Short: "Let ssh, scp, rsync, git and editors reach VMs as NAME.vm",
		Long: `Print what stock SSH clients need to reach VMs by their names, as in ssh NAME.vm. With
--install it is written to a file of banger's own, and one Include line at the top of
~/.ssh/config brings it in; all other lines stay as they are. --uninstall takes the line
out again. Nothing listens on a network: the clients reach a guest through banger.

The login is root's, or another user's: ssh alice@NAME.vm. It takes a key that banger
made, and a VM's host key is pinned in a file of banger's own. The SSH agent and X11 are
not forwarded, and ports of the guest's own loopback only (ssh -L).`,
		Example: `  banger ssh-config --install
  ssh dev.vm
  rsync -a src/ dev.vm:src/
  git clone dev.vm:repo
  ssh -L 8080:localhost:80 dev.vm
  banger ssh-config --uninstall`,
		Args:              args(0, 0, "nothing"),
		ValidArgsFunction: nothing,
		RunE: func(*cobra.Command, []string) error {
			if install && uninstall {
				return usagef("--install and --uninstall exclude each other")
			}
			d, err := paths.Host()
			if err == nil {
				err = autostart.CheckOwner(d.State)
			}
			if err != nil {
				return err
			}
			file, err := clientConfig()
			if err != nil {
				return err
			}
			own := filepath.Join(d.SSH(), paths.SSHConfigFile)
			if uninstall {
				return a.uninstallSSH(file, own)
			}
			text, err := sshText(d)
			if err != nil {
				return err
			}
			line, err := sshconfig.Line(own)
			if err != nil {
				return err
			}
			if install {
				return a.installSSH(file, own, text, line)
			}
			if err := a.write("%s", text); err != nil {
				return err
			}
			a.note("--install writes this to %s, and adds this line at the top of %s: %s", own, file, line)
			return nil
		},
	}
	cmd.Flags().BoolVar(&install, "install", false, "write it, and include it in ~/.ssh/config")
	cmd.Flags().BoolVar(&uninstall, "uninstall", false, "take it out again")
	return cmd
}

// sshWay is what to type for a command of the form "ssh NAME.vm": what it takes if the
// user's clients have no configuration of banger's, or not where ssh looks for it.
func sshWay(command string) string {
	const install = ", after banger ssh-config --install"
	d, err := paths.Host()
	if err != nil {
		return command + install
	}
	line, err := sshconfig.Line(filepath.Join(d.SSH(), paths.SSHConfigFile))
	if err != nil {
		return command + install
	}
	// ssh(1) takes the home from the password database.
	if sshconfig.Installed(filepath.Join(passwordHome(), ".ssh", "config"), line) {
		return command
	}
	file, err := clientConfig()
	if err != nil || !sshconfig.Installed(file, line) {
		return command + install
	}
	return strings.Replace(command, "ssh ", "ssh -F "+file+" ", 1)
}

// sshText is the configuration for clients of the VMs below d.
func sshText(d paths.Dirs) (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	c := sshconfig.Config{Program: program, Key: filepath.Join(d.SSH(), paths.ClientKeyFile), KnownHosts: filepath.Join(d.SSH(), paths.KnownHostsFile)}
	// A client that is started with another environment reaches the same VMs.
	for _, key := range []string{"XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"} {
		if v := os.Getenv(key); v != "" {
			c.Env = append(c.Env, key+"="+v)
		}
	}
	return c.Text()
}

// clientConfig is the user's configuration of SSH clients, in HOME as all files of the
// user's.
func clientConfig() (string, error) {
	home := os.Getenv("HOME")
	if home == "" {
		home = passwordHome()
	}
	if !filepath.IsAbs(home) {
		return "", errors.New("HOME is unset, or not an absolute path")
	}
	return filepath.Join(home, ".ssh", "config"), nil
}

// passwordHome is the user's home by the password database; "" if there is none.
func passwordHome() string {
	u, err := user.LookupId(fmt.Sprint(os.Getuid()))
	if err != nil {
		return ""
	}
	return u.HomeDir
}

func (a *app) installSSH(file, own, text, line string) error {
	if err := os.MkdirAll(filepath.Dir(own), 0o700); err != nil {
		return err
	}
	if err := durable.Replace(own, []byte(text)); err != nil {
		return err
	}
	changed, err := sshconfig.Install(file, line)
	if err != nil {
		return err
	}
	if changed {
		a.note("%s includes %s now: ssh NAME.vm", file, own)
	} else {
		a.note("%s includes %s already: ssh NAME.vm", file, own)
	}
	// ssh(1) takes the home from the password database, whatever HOME says.
	if home := passwordHome(); home != "" && !sameFile(filepath.Join(home, ".ssh", "config"), file) {
		a.note("ssh itself reads %s, because it takes the home directory from the password database and not from HOME: ssh -F %s NAME.vm, or install with HOME=%s",
			filepath.Join(home, ".ssh", "config"), file, home)
	}
	return nil
}

func sameFile(x, y string) bool {
	a, errA := os.Stat(x)
	b, errB := os.Stat(y)
	return x == y || errA == nil && errB == nil && os.SameFile(a, b)
}

func (a *app) uninstallSSH(file, own string) error {
	changed, err := sshconfig.Uninstall(file)
	if err != nil {
		return err
	}
	if err := os.Remove(own); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if changed {
		a.note("%s is what it was", file)
	} else {
		a.note("%s includes nothing of banger's", file)
	}
	return nil
}
