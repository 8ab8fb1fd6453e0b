package main

import (
	"bufio"
	"bytes"
	"encoding/json"
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
	fewFiles   = 300
	fewBytes   = 2 << 10 // of each
	manyFiles  = 10_000
	manyBytes  = 52 << 10 // of each: 508 MiB in all, and as much again as a pack
	outFiles   = 2_000    // of them are changed, and come out
	smallFiles = 100_000
	smallBytes = 16 // of each
	workRuns   = 5
)

// workspaces measures how repositories go in and work comes out: the small one right
// after a boot, the others in the VM that exec was measured in.
func (x *b) workspaces() error {
	few, err := x.repository("few", fewFiles, fewBytes)
	if err != nil {
		return err
	}
	var ready, running []time.Duration
	for i := range workRuns {
		begin := time.Now()
		if _, err := x.banger("vm", "workspace", "prepare", "-q", vmName, few, "--guest-path", "few"+strconv.Itoa(i)); err != nil {
			return err
		}
		running = append(running, time.Since(begin))
		d, err := x.afterReady(few)
		if err != nil {
			return err
		}
		ready = append(ready, d)
	}
	x.add(row{what: fmt.Sprintf("`vm run REPO`, %d files: from the agent that is ready until they are there", fewFiles), got: ms(median(ready)), limit: 300, unit: "ms"})
	x.add(row{what: "`vm workspace prepare` of the same into a running VM, all of it", got: ms(median(running)), unit: "ms"})
	for _, l := range []largeRepo{{"many", manyFiles, manyBytes}, {"small", smallFiles, smallBytes}} {
		if err := x.large(l); err != nil {
			return err
		}
	}
	return nil
}

// largeRepo is a repository that goes in, and its name, which is the guest's path too.
type largeRepo struct {
	name         string
	files, bytes int // bytes of each
}

// afterReady is how long a copy takes after the agent of a new VM is ready, by the times
// at which banger says so.
func (x *b) afterReady(repo string) (time.Duration, error) {
	cmd := x.command("vm", "run", "--rm", "--json", repo, "--", "true")
	out, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return 0, err
	}
	var ready, there time.Time
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var e struct {
			Stage    string
			Finished bool
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return 0, errors.Join(fmt.Errorf("read %q: %w", lines.Bytes(), err), cmd.Wait())
		}
		switch {
		case e.Stage == "boot" && e.Finished:
			ready = time.Now()
		case e.Stage == "copy" && e.Finished:
			there = time.Now()
		}
	}
	if err := errors.Join(lines.Err(), cmd.Wait()); err != nil {
		return 0, err
	}
	if ready.IsZero() || there.IsZero() {
		return 0, errors.New("banger vm run did not say when the VM was ready and the copy there")
	}
	return there.Sub(ready), nil
}

// large measures a large repository's way in beside tar's and git clone's, the first
// look of the guest's git, and the way out.
func (x *b) large(l largeRepo) error {
	repo, err := x.repository(l.name, l.files, l.bytes)
	if err != nil {
		return err
	}
	defer os.RemoveAll(repo)
	in, err := x.manyIn(repo, l)
	if err != nil {
		return err
	}
	if err := errors.Join(x.clone(repo, in), x.manyOut(l)); err != nil {
		return err
	}
	if l.bytes == manyBytes {
		if err := x.bytesOut(l); err != nil {
			return err
		}
	}
	_, err = x.banger("vm", "exec", vmName, "--", "rm", "-rf", "tar", "clone")
	return err
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
// onto the same disk: the files, and the pack. Each way ends when they are on the disk, so
// that none writes what another one left.
func (x *b) manyIn(repo string, l largeRepo) (whole time.Duration, err error) {
	begin := time.Now()
	tar := exec.Command("tar", "c", ".")
	tar.Dir = repo
	out, err := tar.StdoutPipe()
	if err != nil {
		return 0, err
	}
	untar := x.command("vm", "exec", vmName, "--", "sh", "-c", "mkdir tar && tar x -C tar && sync")
	untar.Stdin = io.NopCloser(out) // a pipe of ours, so that its end is seen
	if err := tar.Start(); err != nil {
		return 0, err
	}
	if text, err := untar.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("tar x in the guest: %w: %s", err, text)
	}
	if err := tar.Wait(); err != nil {
		return 0, err
	}
	floor := time.Since(begin)
	var peak int64
	whole, peak, err = x.memory("vm", "workspace", "prepare", "-q", vmName, repo, "--guest-path", l.name)
	if err != nil {
		return 0, err
	}
	if l.bytes == smallBytes {
		x.add(row{what: fmt.Sprintf("%d files of %d bytes: tar x by `vm exec`", l.files, l.bytes), got: floor.Seconds(), unit: "s"})
		x.add(row{what: "the same as a workspace", got: whole.Seconds(), unit: "s"})
		return whole, nil
	}
	bytes := 2 * l.files * l.bytes
	x.add(row{what: fmt.Sprintf("tar x of %d files and their pack, %.0f MiB, by `vm exec` (floor)", l.files, mib(int64(bytes))), got: rate(bytes, floor), unit: "MiB/s"})
	x.add(row{what: "the same as a workspace", got: rate(bytes, whole), limit: 0.8 * rate(bytes, floor), unit: "MiB/s", more: true, of: "0.8 × tar"})
	x.add(row{what: "memory of the host's over idle, meanwhile", got: mib(peak), limit: 64, unit: "MiB"})
	return whole, nil
}

// pipes is a program of the guest's that carries git's protocol through the standard
// input and output of the session that runs git, which are its descriptors 3 and 4.
const pipes = "cat <&3 & p=$!; cat >&4; kill $p"

// clone has the guest's git clone the repository through the pipes of `vm exec`, and
// compares that with in, what the copy took.
func (x *b) clone(repo string, in time.Duration) error {
	if _, err := x.banger("vm", "exec", vmName, "--", "sh", "-c", "echo '"+pipes+"' >pipes; sync"); err != nil {
		return err
	}
	begin := time.Now()
	up := exec.Command("git", "upload-pack", repo)
	down := x.command("vm", "exec", vmName, "--", "sh", "-c",
		"git -c protocol.ext.allow=always clone -q --depth 1 'ext::sh /root/pipes' clone 3<&0 4>&1 >&2 && sync")
	requests, err := down.StdoutPipe()
	if err != nil {
		return err
	}
	answers, err := down.StdinPipe()
	if err != nil {
		return err
	}
	var said bytes.Buffer
	down.Stderr = &said
	up.Stdin, up.Stdout = requests, answers
	if err := up.Start(); err != nil {
		return err
	}
	err = down.Run()
	answers.Close()
	up.Wait() // it may complain of its reader's end
	if err != nil {
		return fmt.Errorf("git clone in the guest: %w: %s", err, &said)
	}
	took := time.Since(begin)
	x.add(row{what: "git clone --depth 1 of the same through `vm exec`", got: took.Seconds(), unit: "s"})
	x.add(row{what: "as a workspace", got: in.Seconds(), limit: took.Seconds(), unit: "s", of: "that"})
	return nil
}

// manyOut measures the first look of the guest's git, and an export of one change.
func (x *b) manyOut(l largeRepo) error {
	at := "/root/" + l.name
	status := func() (time.Duration, error) {
		begin := time.Now()
		_, err := x.banger("vm", "exec", "-w", at, vmName, "--", "git", "status", "--porcelain")
		return time.Since(begin), err
	}
	first, err := status()
	if err != nil {
		return err
	}
	var again, export []time.Duration
	for range workRuns {
		if _, err := x.banger("vm", "exec", "-w", at, vmName, "--", "sh", "-c", "echo edit >> 7/file7"); err != nil {
			return err
		}
		d, err := status()
		if err != nil {
			return err
		}
		again = append(again, d)
		begin := time.Now()
		if _, err := x.banger("vm", "workspace", "export", "-q", vmName, "--guest-path", at); err != nil {
			return err
		}
		export = append(export, time.Since(begin))
	}
	s := median(again)
	x.add(row{what: fmt.Sprintf("first `git status` in the guest, %d files", l.files), got: ms(first), unit: "ms", limit: 2 * ms(s), of: "2 × a later one: no file is read again"})
	x.add(row{what: "a later `git status`", got: ms(s), unit: "ms"})
	x.add(row{what: "export of one changed file among them", got: ms(median(export)), unit: "ms", limit: 2 * ms(s), of: "2 × git status"})
	return nil
}

// bytesOut measures an export of many changed files.
func (x *b) bytesOut(l largeRepo) error {
	at := "/root/" + l.name
	script := fmt.Sprintf("n=0; for f in */*; do n=$((n+1)); if test $n -le %d; then head -c %d /dev/urandom >$f; fi; done", outFiles, manyBytes)
	if _, err := x.banger("vm", "exec", "-w", at, vmName, "--", "sh", "-c", script); err != nil {
		return err
	}
	took, peak, err := x.memory("vm", "workspace", "export", "-q", vmName, "--guest-path", at)
	if err != nil {
		return err
	}
	x.add(row{what: fmt.Sprintf("export of %d changed files, %.0f MiB", outFiles, mib(outFiles*manyBytes)), got: rate(outFiles*manyBytes, took), unit: "MiB/s"})
	x.add(row{what: "memory of the host's over idle, meanwhile", got: mib(peak), limit: 64, unit: "MiB"})
	return nil
}
