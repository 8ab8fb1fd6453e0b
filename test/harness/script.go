package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
)

// script is a file, and what its comment says.
type script struct {
	file, name string
	guests     int64
	shareCache bool // it has guests, and so image and kernel
	limit      time.Duration
	vmmNone    bool
	user       string
	twoHalves  bool
	between    string
}

// secondFile is the file of an archive that is a script's second half.
const secondFile = "after"

// What comes between two halves.
const (
	Reboot   = "reboot"    // as an administrator asks for it
	PowerCut = "power-cut" // what the host did not write to its disk is lost
	Logout   = "logout"    // of the user, who does not linger then
)

// Betweens are all of them.
var Betweens = []string{Reboot, PowerCut, Logout}

var needs = regexp.MustCompile(`(?m)^# (guests|limit|vmm|user|between) (\S+)$`)

func readScript(file string) (*script, error) {
	a, err := txtar.ParseFile(file)
	if err != nil {
		return nil, err
	}
	s := &script{file: file, name: strings.TrimSuffix(filepath.Base(file), ".txtar"), limit: defaultLimit, between: Reboot}
	for _, m := range needs.FindAllStringSubmatch(string(a.Comment), -1) {
		switch m[1] {
		case "guests":
			s.shareCache = true
			s.guests, err = strconv.ParseInt(m[2], 10, 64)
		case "limit":
			s.limit, err = time.ParseDuration(m[2])
		case "vmm":
			s.vmmNone = true
		case "user":
			s.user = m[2]
		case "between":
			s.between = m[2]
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %q: %w", file, m[0], err)
		}
	}
	for _, f := range a.Files {
		s.twoHalves = s.twoHalves || f.Name == secondFile
	}
	return s, nil
}

// secondHalf writes a script's second half under its own name.
func (s *script) secondHalf(t *testing.T) string {
	a, err := txtar.ParseFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), s.name+".txtar")
	for _, f := range a.Files {
		if f.Name == secondFile {
			if err := os.WriteFile(name, f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return name
}

// halves is where scripts with two halves work: a host that goes down takes /tmp along.
func halves(vmm string) (string, error) {
	cache, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "halves", vmm)
	return dir, os.MkdirAll(dir, 0o700)
}

// runDir is where banger has the sockets of the state directory below work,
// see package paths: a directory that is shared gets a suffix.
func runDir(runtime, work string) string {
	sum := sha256.Sum256([]byte(filepath.Join(work, "state", "banger")))
	return filepath.Join(runtime, "banger-"+hex.EncodeToString(sum[:4]))
}
