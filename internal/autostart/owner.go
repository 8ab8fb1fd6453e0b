package autostart

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"banger/internal/hint"
	"banger/internal/paths"
)

// CheckOwner refuses a state directory of another user: sudo with the user's HOME
// would take over the user's VMs. A directory that does not exist is fine, and a
// symbolic link to it is followed.
func CheckOwner(dir string) error {
	fi, err := os.Stat(dir)
	if err != nil {
		return nil // the daemon makes it, or says why it can't
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) == os.Geteuid() {
		return nil
	}
	owner, self := userName(int(st.Uid)), userName(os.Geteuid())
	return hint.Add(fmt.Errorf("the state directory %q (by %s) belongs to %s, and this program runs as %s", dir, paths.From("XDG_STATE_HOME"), owner, self),
		fmt.Sprintf("run banger as %s; or set XDG_STATE_HOME (or HOME) to a directory of %s's own", owner, self))
}

// userName is a user's name, or the uid when the password database has none.
func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid %d", uid)
}
