package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// Sizes of the repositories that go in.
const (
	fewFiles  = 300
	fewBytes  = 2 << 10 // of each
	manyFiles = 10_000
	manyBytes = 26 << 10 // of each: 254 MiB in all
	workRuns  = 5
)

// workspaces measures how repositories go in and work comes out, in the VM that exec
// was measured in.
func (x *b) workspaces() error {
	few, err := x.repository("few", fewFiles, fewBytes)
	if err != nil {
		return err
	}
	var in []time.Duration
	for i := range workRuns {
		begin := time.Now()
		if _, err := x.banger("vm", "workspace", "prepare", "-q", vmName, few, "--guest-path", "few"+strconv.Itoa(i)); err != nil {
			return err
		}
		in = append(in, time.Since(begin))
	}
	x.add(row{what: fmt.Sprintf("a repository of %d files into a running VM", fewFiles), got: ms(median(in)), limit: 300, unit: "ms"})
	many, err := x.repository("many", manyFiles, manyBytes)
	if err != nil {
		return err
	}
	return errors.Join(x.manyIn(many), x.manyOut())
}

// repository makes one, of files that don't compress.
func (x *b) repository(name string, files, size int) (string, error) {
	dir := filepath.Join(x.dir, name)
	r := rand.NewChaCha8([32]byte{})
	buf := make([]byte, size)
	for i := range files {
		path := filepath.Join(dir, strconv.Itoa(i%100), fmt.Sprintf("file%d", i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		r.Read(buf)
		if err := os.WriteFile(path, buf, 0o644); err != nil {
			return "", err
		}
	}
	cmd := exec.Command("sh", "-euc", "git init -q; git add .; git -c user.name=b -c user.email=b@example.org -c gc.auto=0 commit -qm b; git repack -adq; sleep 1; git update-index -q --refresh")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make a repository: %w: %s", err, out)
	}
	return dir, nil
}

// manyIn compares a large repository's way in with tar's, which brings the same bytes
// onto the same disk: the files, and the pack.
func (x *b) manyIn(repo string) error {
	begin := time.Now()
	tar := exec.Command("tar", "c", ".")
	tar.Dir = repo
	out, err := tar.StdoutPipe()
	if err != nil {
		return err
	}
	untar := x.command("vm", "exec", vmName, "--", "sh", "-c", "mkdir tar && tar x -C tar")
	untar.Stdin = io.NopCloser(out) // a pipe of ours, so that its end is seen
	if err := tar.Start(); err != nil {
		return err
	}
	if text, err := untar.CombinedOutput(); err != nil {
		return fmt.Errorf("tar x in the guest: %w: %s", err, text)
	}
	if err := tar.Wait(); err != nil {
		return err
	}
	floor := time.Since(begin)
	begin = time.Now()
	if _, err := x.banger("vm", "workspace", "prepare", "-q", vmName, repo, "--guest-path", "many"); err != nil {
		return err
	}
	whole := time.Since(begin)
	bytes := 2 * manyFiles * manyBytes
	x.add(row{what: fmt.Sprintf("tar x of %d files and their pack, %.0f MiB, by `vm exec` (floor)", manyFiles, mib(int64(bytes))), got: rate(bytes, floor), unit: "MiB/s"})
	x.add(row{what: "the same as a workspace", got: rate(bytes, whole), limit: 0.8 * rate(bytes, floor), unit: "MiB/s", more: true, of: "0.8 × tar"})
	return nil
}

// manyOut measures the first look of the guest's git, and an export of one change.
func (x *b) manyOut() error {
	status := func() (time.Duration, error) {
		begin := time.Now()
		_, err := x.banger("vm", "exec", "-w", "/root/many", vmName, "--", "git", "status", "--porcelain")
		return time.Since(begin), err
	}
	first, err := status()
	if err != nil {
		return err
	}
	var again, export []time.Duration
	if _, err := x.banger("vm", "exec", "-w", "/root/many", vmName, "--", "sh", "-c", "echo edit >> 7/file7"); err != nil {
		return err
	}
	for range workRuns {
		d, err := status()
		if err != nil {
			return err
		}
		again = append(again, d)
		begin := time.Now()
		if _, err := x.banger("vm", "workspace", "export", "-q", vmName, "--guest-path", "/root/many"); err != nil {
			return err
		}
		export = append(export, time.Since(begin))
	}
	s := median(again)
	x.add(row{what: fmt.Sprintf("first `git status` in the guest, %d files", manyFiles), got: ms(first), unit: "ms", limit: 2 * ms(s), of: "2 × a later one: no file is read again"})
	x.add(row{what: "a later `git status`", got: ms(s), unit: "ms"})
	x.add(row{what: "export of one changed file among them", got: ms(median(export)), unit: "ms", limit: 2 * ms(s), of: "2 × git status"})
	return nil
}
