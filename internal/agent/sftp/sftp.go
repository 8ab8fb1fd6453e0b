// Package sftp is the SFTP server of the agent's own program: a process with its user's
// rights, so an image needs no server of its own.
package sftp

import (
	"context"
	"errors"
	"io"

	"github.com/pkg/sftp"
)

// Program is the word that asks the agent's program for the server.
const Program = "sftp"

// Run serves one client from in to out, until in ends. Relative paths are relative to
// home.
func Run(_ context.Context, _ []string, home string, in io.Reader, out io.Writer) error {
	s, err := sftp.NewServer(stdio{in, out}, sftp.WithServerWorkingDirectory(home))
	if err != nil {
		return err
	}
	if err := s.Serve(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return s.Close()
}

// stdio is in and out as one. Closing it is left to the process's end.
type stdio struct {
	io.Reader
	io.Writer
}

func (stdio) Close() error { return nil }
