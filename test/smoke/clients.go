package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"banger/internal/network/mirrors"
	"banger/test/smoke/testhost"
)

// copyClients gives the test host the files by which package clients of this machine say where they
// fetch from (but for a home's, and for apt's, of which it has its own), and the certificates that
// its administrator added.
func (r *run) copyClients(ctx context.Context) error {
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	add := func(path string, text []byte) error {
		err := w.WriteHeader(&tar.Header{Name: path[1:], Mode: 0o644, Size: int64(len(text))})
		if err == nil {
			_, err = w.Write(text)
		}
		return err
	}
	seen := map[string]bool{}
	for _, s := range mirrors.Read(mirrors.Host{Env: os.Environ()}).Settings {
		if s.Client == "apt" || seen[s.Origin] || !strings.HasPrefix(s.Origin, "/") {
			continue
		}
		seen[s.Origin] = true
		text, err := os.ReadFile(s.Origin)
		if err == nil {
			err = add(s.Origin, text)
		}
		if err != nil {
			return fmt.Errorf("copy %q: %w", s.Origin, err)
		}
	}
	// npm's own default is found by its program.
	if program, err := exec.LookPath("npm"); err == nil {
		if real, err := filepath.EvalSymlinks(program); err == nil && real != program {
			if err := add(real, nil); err != nil {
				return fmt.Errorf("copy %q: %w", real, err)
			}
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: program[1:], Linkname: real}); err != nil {
				return fmt.Errorf("copy %q: %w", program, err)
			}
		}
	}
	certificates, _ := mirrors.HostCAs(mirrors.Host{})
	for _, c := range certificates {
		if err := add("/usr/local/share/ca-certificates/"+c.Name+".crt", []byte(c.PEM)); err != nil {
			return fmt.Errorf("copy the certificate %q: %w", c.Name, err)
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
