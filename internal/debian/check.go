package debian

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"

	"banger/internal/hint"
)

// install is the line that gets all that is needed on Debian and its kin.
const install = "sudo apt-get install mmdebstrap uidmap debian-archive-keyring"

// keyrings are where Debian's keys lie, on Debian and elsewhere.
var keyrings = []string{
	"/usr/share/keyrings/debian-archive-keyring.gpg",
	"/usr/share/keyrings/debian-archive-keyring.pgp",
	"/etc/apt/trusted.gpg.d/debian-archive-bookworm-stable.gpg",
	"/etc/apt/trusted.gpg.d/debian-archive-bookworm-stable.asc",
}

// Check reports why Tar could not work here, and returns mmdebstrap's path.
func Check() (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", hint.Missing(fmt.Errorf("find %s, which gets Debian's packages: it is not in PATH", program), install)
	}
	if _, err := CheckKeys(); err != nil {
		return "", err
	}
	if os.Getuid() == 0 {
		return path, nil // mmdebstrap then maps all ids to themselves
	}
	return path, CheckSubIDs()
}

// CheckSubIDs reports why this user, not root, can't have a user namespace with
// many ids.
func CheckSubIDs() error {
	for _, p := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(p); err != nil {
			return hint.Missing(fmt.Errorf("find %s, which a user namespace with many ids needs: it is not in PATH", p), install)
		}
	}
	u, err := user.Current()
	if err != nil {
		return err
	}
	return checkSubIDs(u.Username, "/etc/subuid", "/etc/subgid")
}

// CheckKeys returns where Debian's signing keys lie, or reports that they are
// not here.
func CheckKeys() (path string, err error) {
	for _, n := range keyrings {
		if _, err := os.Stat(n); err == nil {
			return n, nil
		}
	}
	return "", hint.Missing(errors.New("find Debian's signing keys: package debian-archive-keyring is not installed"), install)
}

// idsNeeded is what mmdebstrap's map takes.
const idsNeeded = 65536

func checkSubIDs(name string, files ...string) error {
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if n := subIDs(string(text), name); n < idsNeeded {
			return hint.Missing(fmt.Errorf("unpack packages without root: user %q has %d subordinate ids in %s and needs %d", name, n, file, idsNeeded),
				"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "+name)
		}
	}
	return nil
}

// subIDs reads subuid(5), NAME:FIRST:COUNT, as mmdebstrap does: the first line
// with the user's name counts.
func subIDs(text, name string) uint64 {
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || f[0] != name {
			continue
		}
		n, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			return 0
		}
		return n
	}
	return 0
}
