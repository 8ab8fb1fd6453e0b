package command

import (
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	// firstUser is the first id of a person's account (login.defs(5), UID_MIN), and
	// nobody the last that is none.
	firstUser = 1000
	nobody    = 65534
	// managerLimit bounds the wait for a user manager. It takes a second or two in an
	// emulated guest, and during the boot it waits for logind. It is systemd's own
	// (systemd-system.conf(5), DefaultTimeoutStartSec=).
	managerLimit = 90 * time.Second
	// systemdSocket is there while systemd is PID 1 and answers.
	systemdSocket = "/run/systemd/private"
	systemctl     = "/bin/systemctl"
	// managerSocket is the same of a user manager, in its user's runtime directory.
	managerSocket = "systemd/private"
)

// startManager starts a's user manager if the image has such and it does not run, as
// a login would; without one, nothing is lost but that. It waits for a start that is
// under way. Root's is the boot's.
func (a account) startManager() {
	if a.own || a.uid < firstUser || a.uid == nobody {
		return
	}
	id := strconv.FormatUint(uint64(a.uid), 10)
	// The runtime directory is there before the manager is.
	if _, err := os.Stat(filepath.Join(runtimeDirs, id, managerSocket)); err == nil {
		return
	}
	// Root's manager shows that the image has them.
	for _, path := range []string{systemdSocket, filepath.Join(runtimeDirs, "0")} {
		if _, err := os.Stat(path); err != nil {
			return
		}
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer null.Close()
	var p *os.Process
	err = withoutAdvantages(func() (err error) {
		p, err = os.StartProcess(systemctl, []string{"systemctl", "--quiet", "start", "user@" + id + ".service"},
			&os.ProcAttr{Dir: "/", Env: []string{"PATH=" + DefaultPath}, Files: []*os.File{null, null, null}})
		return err
	})
	if err != nil {
		return
	}
	defer time.AfterFunc(managerLimit, func() { p.Kill() }).Stop()
	p.Wait()
}
