package command

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// environmentFiles are what a login reads its variables from (pam_env(8), with
// Debian's settings).
var environmentFiles = []string{"/etc/environment", "/etc/default/locale"}

// runtimeDirs is where systemd makes each user's XDG_RUNTIME_DIR.
const runtimeDirs = "/run/user"

// loginVariables are the KEY=VALUE lines of files, a later one's in the place of an
// earlier one's. A file that is not there has none.
func loginVariables(files ...string) (env []string) {
	for _, file := range files {
		text, _ := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			key, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
			key = strings.TrimSpace(key)
			if !ok || key == "" || strings.ContainsAny(key, " \t") || strings.Contains(value, "\x00") {
				continue
			}
			env = setenv(env, key, key+"="+unquote(strings.TrimSpace(value)))
		}
	}
	return env
}

// unquote takes one pair of quotes off, as pam_env does.
func unquote(s string) string {
	if n := len(s); n > 1 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] {
		return s[1 : n-1]
	}
	return s
}

// runtimeVariables name a user's runtime directory and session bus, if the user has
// them: a user manager makes both.
func runtimeVariables(dirs string, uid uint32) (env []string) {
	dir := filepath.Join(dirs, strconv.FormatUint(uint64(uid), 10))
	fi, err := os.Lstat(dir)
	if err != nil || !fi.IsDir() {
		return nil
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); !ok || st.Uid != uid {
		return nil
	}
	env = []string{"XDG_RUNTIME_DIR=" + dir}
	bus := filepath.Join(dir, "bus")
	if fi, err := os.Lstat(bus); err == nil && fi.Mode()&os.ModeSocket != 0 {
		env = append(env, "DBUS_SESSION_BUS_ADDRESS=unix:path="+bus)
	}
	return env
}
