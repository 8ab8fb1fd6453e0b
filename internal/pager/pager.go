// Package pager runs the program with which the user reads long text.
package pager

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// fallback is the pager of who has named none.
const fallback = "less"

// Command is the user's pager, as a line for the shell: $GIT_PAGER, $PAGER, or less.
// "" is none.
func Command() string {
	for _, name := range []string{"GIT_PAGER", "PAGER"} {
		if v, set := os.LookupEnv(name); set {
			if v == "cat" {
				return ""
			}
			return v
		}
	}
	if _, err := exec.LookPath("less"); err != nil {
		return ""
	}
	return fallback
}

// Run has write write to command, which shows it on out. A reader who leaves early
// is no error.
func Run(command string, out *os.File, write func(io.Writer) error) error {
	if command == "" {
		return write(out)
	}
	cmd := exec.Command("sh", "-c", command)
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	if _, set := os.LookupEnv("LESS"); !set {
		cmd.Env = append(os.Environ(), "LESS=FRX")
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the pager: %w", err)
	}
	err = write(in)
	in.Close()
	if errors.Is(err, syscall.EPIPE) {
		err = nil
	}
	// A pager that is not there ends with a status that says so.
	if werr := cmd.Wait(); werr != nil && err == nil {
		err = fmt.Errorf("the pager %q: %w", command, werr)
	}
	return err
}
