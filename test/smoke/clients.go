package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"banger/internal/network/mirrors"
	"banger/test/smoke/testhost"
)

// copyClients gives the test host the files by which package clients of this machine say where they
// fetch from: its own, but for a home's, and for apt's, of which it has its own.
func (r *run) copyClients(ctx context.Context) error {
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	seen := map[string]bool{}
	for _, s := range mirrors.Read(mirrors.Host{}).Settings {
		if s.Client == "apt" || seen[s.Origin] || !strings.HasPrefix(s.Origin, "/") {
			continue
		}
		seen[s.Origin] = true
		text, err := os.ReadFile(s.Origin)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = w.WriteHeader(&tar.Header{Name: s.Origin[1:], Mode: 0o644, Size: int64(len(text))})
		}
		if err == nil {
			_, err = w.Write(text)
		}
		if err != nil {
			return fmt.Errorf("copy %q: %w", s.Origin, err)
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	status, err := r.host.Run(ctx, testhost.Command{User: testhost.Root, Args: []string{"tar", "-x", "-C", "/", "--no-overwrite-dir", "--keep-directory-symlink"}, Stdin: &files, Stderr: os.Stderr})
	if err == nil && status != 0 {
		err = fmt.Errorf("tar ended with status %d", status)
	}
	return err
}
