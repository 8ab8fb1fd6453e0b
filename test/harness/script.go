package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
)

// Script is a file, and what its comment says.
type Script struct {
	Name    string // the file's, without .txtar
	User    string // "" is the tier's usual one
	VMMNone bool
	Between string // of Betweens; "" where it has no two halves
	Image   string // that its VMs are made from; "" is the default one

	file       string
	guests     int64
	shareCache bool // it has guests, and so image and kernel
	limit      time.Duration
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

var needs = regexp.MustCompile(`(?m)^# (guests|limit|vmm|user|between|image) (\S+)$`)

// ReadScript reads a script's comment; a word that nothing is called by is an
// error.
func ReadScript(file string) (*Script, error) {
	a, err := txtar.ParseFile(file)
	if err != nil {
		return nil, err
	}
	s := &Script{file: file, Name: strings.TrimSuffix(filepath.Base(file), ".txtar"), limit: defaultLimit}
	between := Reboot
	for _, m := range needs.FindAllStringSubmatch(string(a.Comment), -1) {
		switch m[1] {
		case "guests":
			s.shareCache = true
			s.guests, err = strconv.ParseInt(m[2], 10, 64)
		case "limit":
			s.limit, err = time.ParseDuration(m[2])
		case "vmm":
			s.VMMNone = true
		case "user":
			s.User = m[2]
		case "image":
			s.Image = m[2]
		case "between":
			if between = m[2]; !slices.Contains(Betweens, between) {
				err = fmt.Errorf("there are %s", strings.Join(Betweens, ", "))
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %q: %w", file, m[0], err)
		}
	}
	for _, f := range a.Files {
		if f.Name == secondFile {
			s.Between = between
		}
	}
	return s, nil
}

// secondHalf writes a script's second half under its own name.
func (s *Script) secondHalf(t *testing.T) string {
	a, err := txtar.ParseFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), s.Name+".txtar")
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
