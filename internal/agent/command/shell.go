package command

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"banger/internal/channel/exec"
)

// plain is a command line that means the same to every shell and to none.
var plain = regexp.MustCompile(`^[\w@%+:,./ -]*$`)

// ShellArgs is the argument vector that runs a command line as user, spelled as in
// exec.Request: by the user's shell, or, if the image has none, by itself if the line
// has nothing for a shell to do.
func ShellArgs(user, line string) ([][]byte, error) {
	who, err := findAccount(passwdFile, groupFile, user)
	if err != nil {
		return nil, err
	}
	return who.shellArgs(line)
}

func (a account) shellArgs(line string) ([][]byte, error) {
	if _, err := os.Stat(a.shell); err == nil {
		return exec.Args(a.shell, "-c", line), nil
	}
	words := strings.Fields(line)
	if !plain.MatchString(line) || len(words) == 0 {
		return nil, fmt.Errorf("%s is not there, which would read the command line", filepath.Clean(a.shell))
	}
	return exec.Args(words...), nil
}
