package command

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"banger/internal/channel/exec"
)

// DefaultPath is the PATH that a login of root has in Debian.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// userPath is the PATH of anybody else's.
const userPath = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"

const passwdFile = "/etc/passwd"

// environment is a session's: what a login of who has, then own's pairs, and then
// what the request adds.
func environment(req exec.Request, who account, own []string) []string {
	path := DefaultPath
	if who.uid != 0 {
		path = userPath
	}
	env := []string{
		"PATH=" + path, "HOME=" + who.home, "USER=" + who.name, "LOGNAME=" + who.name, "SHELL=" + who.shell, "LANG=C.UTF-8",
	}
	for _, kv := range append(loginVariables(environmentFiles...), own...) {
		key, _, _ := strings.Cut(kv, "=")
		env = setenv(env, key, kv)
	}
	env = append(env, runtimeVariables(runtimeDirs, who.uid)...)
	for _, kv := range req.Env {
		key, _, ok := strings.Cut(string(kv), "=")
		if !ok || key == "" {
			continue
		}
		env = setenv(env, key, string(kv))
	}
	if term := getenv(env, "TERM"); term != "" && req.TTY {
		env = setenv(env, "TERM", "TERM="+knownTerminal(term, append([]string{filepath.Join(getenv(env, "HOME"), ".terminfo")}, terminfoDirs...)))
	}
	return env
}

func setenv(env []string, key, kv string) []string {
	for i, e := range env {
		if strings.HasPrefix(e, key+"=") {
			env[i] = kv
			return env
		}
	}
	return append(env, kv)
}

func getenv(env []string, key string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, key+"="); ok {
			return v
		}
	}
	return ""
}

// directory is the working directory that req asks for.
func directory(req exec.Request, who account, env []string) (string, error) {
	home := getenv(env, "HOME")
	dir := string(req.Dir)
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(home, dir)
	}
	err := who.enter(dir)
	if err != nil && req.OrHome {
		for _, dir := range []string{home, "/"} { // a login in a home that is not there is in /
			if err := who.enter(dir); err == nil {
				return dir, nil
			}
		}
	}
	return dir, err
}

// rootUser reads root's home and shell from passwd(5); an image without them
// gets the usual ones.
func rootUser(passwd string) (home, shell string) {
	home, shell = "/root", "/bin/sh"
	text, _ := os.ReadFile(passwd)
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 7 || f[2] != "0" {
			continue
		}
		if f[5] != "" {
			home = f[5]
		}
		if f[6] != "" {
			if _, err := os.Stat(f[6]); err == nil {
				shell = f[6]
			}
		}
		break
	}
	return home, shell
}

// lookPath finds a program as execvp(3) does: a name with a slash is a path,
// relative to dir; any other is looked for in path. A program that is there but
// can't be executed beats one that is not there.
func lookPath(name, path, dir string) (string, error) {
	if name == "" {
		return "", fs.ErrNotExist
	}
	if strings.Contains(name, "/") {
		full := name
		if !filepath.IsAbs(full) {
			full = filepath.Join(dir, full)
		}
		return full, executable(full)
	}
	found := fs.ErrNotExist
	for _, d := range filepath.SplitList(path) {
		if d == "" {
			d = dir
		}
		full := filepath.Join(d, name)
		err := executable(full)
		if err == nil {
			return full, nil
		}
		if errors.Is(err, fs.ErrPermission) {
			found = err
		}
	}
	return "", found
}

func executable(path string) error {
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case fi.IsDir():
		return syscall.EISDIR
	case fi.Mode()&0o111 == 0:
		return fs.ErrPermission
	}
	return nil
}
