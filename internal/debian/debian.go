// Package debian gets Debian's signed packages as a tar stream: mmdebstrap in a
// user namespace, without root. apt checks every package against Debian's
// keys.
package debian

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"banger/internal/hint"
	"banger/internal/progress"
)

// Suite is the release that images and kernels come from: Debian 12.
const Suite = "bookworm"

const (
	program = "mmdebstrap"
	// cleanLimit is how long a cancelled mmdebstrap has to remove its
	// directory, which belongs to other users and which only it can remove.
	cleanLimit = 30 * time.Second
	maxWords   = 8 << 10 // kept of its stderr, in bytes
)

// Request is one tree of packages.
type Request struct {
	Variant string   // mmdebstrap's: "extract" unpacks alone, "apt" installs
	Include []string // packages
	// Hooks are shell lines that are run at the end with the tree as $1.
	Hooks []string
	// Stage names the progress; Step gets it.
	Stage string
	Step  progress.Func
}

// Tar runs read on the tree as a tar stream, and ends it with read or ctx. An
// error of mmdebstrap beats one of read, which sees a cut stream then.
func Tar(ctx context.Context, q Request, read func(io.Reader) error) error {
	path, err := check()
	if err != nil {
		return err
	}
	args := []string{"--mode=unshare", "--format=tar", "--variant=" + q.Variant,
		"--include=" + strings.Join(q.Include, ","), `--aptopt=Acquire::Retries "3"`}
	hook := "--customize-hook="
	if q.Variant == "extract" {
		hook = "--extract-hook=" // the last that this variant runs
	}
	for _, h := range q.Hooks {
		args = append(args, hook+h)
	}
	cmd := exec.Command(path, append(args, Suite, "-")...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	// A group of its own, so that all it started hears the signal; and it goes
	// with us, as what it makes has no use then.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	words, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	// A parent-death signal fires when the starting thread ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	ended := make(chan struct{})
	stop := make(chan struct{})
	go func() { // ends with the process, by force after cleanLimit
		defer close(stop)
		select {
		case <-ended:
			return
		case <-ctx.Done():
		}
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(cleanLimit):
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
	}()
	said := make(chan string, 1)
	go func() { said <- follow(words, q) }() // ends with the process's stderr
	readErr := read(out)
	if readErr != nil {
		// It hears SIGPIPE at its next write and cleans up.
		out.Close()
	} else {
		io.Copy(io.Discard, out)
	}
	text := <-said
	err = cmd.Wait()
	close(ended)
	<-stop
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case readErr != nil && (err == nil || !streamCut(readErr)):
		return readErr
	case err != nil:
		return explain(text, err)
	}
	return nil
}

// streamCut reports whether a reader's error is only that the stream ended.
func streamCut(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// steps are mmdebstrap's own, in order, as its lines begin; a variant leaves
// some out.
var steps = []string{
	"running apt-get update", "downloading packages with apt", "extracting archives",
	"installing essential packages", "installing remaining packages", "running --",
	"cleaning package lists", "creating tarball",
}

// follow turns mmdebstrap's lines into steps and returns the last of them.
func follow(r io.Reader, q Request) string {
	var kept bytes.Buffer
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<10)
	for lines.Scan() {
		line := lines.Text()
		if kept.Len() > maxWords {
			kept.Next(kept.Len() - maxWords/2)
		}
		kept.WriteString(line + "\n")
		text, ok := strings.CutPrefix(line, "I: ")
		if !ok {
			continue
		}
		for i, s := range steps {
			if strings.HasPrefix(text, s) {
				q.Step(progress.Step{Stage: q.Stage, Text: strings.TrimSuffix(s, "..."), Done: int64(i), Total: int64(len(steps)), Unit: "steps"})
			}
		}
	}
	io.Copy(io.Discard, r) // a line too long ends the scan, not the process
	return kept.String()
}

// check finds mmdebstrap and what it needs to run without root.
func check() (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", hint.Add(fmt.Errorf("find %s, which fetches Debian's packages: it is not in PATH", program),
			"sudo apt-get install mmdebstrap uidmap debian-archive-keyring")
	}
	if os.Getuid() == 0 {
		return path, nil
	}
	return path, CheckSubIDs()
}

// CheckSubIDs reports why this user can't have a user namespace with many ids.
func CheckSubIDs() error {
	for _, p := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(p); err != nil {
			return hint.Add(fmt.Errorf("find %s, which a user namespace needs: it is not in PATH", p), "sudo apt-get install uidmap")
		}
	}
	u, err := user.Current()
	if err != nil {
		return err
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		text, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		if !hasRange(text, u.Username, u.Uid) {
			return hint.Add(fmt.Errorf("find at least 65536 ids for user %q in %s: there are none", u.Username, file),
				"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "+u.Username)
		}
	}
	return nil
}

// hasRange reads subuid(5): NAME-OR-UID:FIRST:COUNT.
func hasRange(text []byte, name, uid string) bool {
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || (f[0] != name && f[0] != uid) {
			continue
		}
		if n, err := strconv.ParseUint(f[2], 10, 32); err == nil && n >= 65536 {
			return true
		}
	}
	return false
}

// problems are what mmdebstrap's and apt's words mean to a user.
var problems = []struct {
	words *regexp.Regexp
	hint  string
}{
	{regexp.MustCompile(`(?i)no space left on device`), "free some space in $TMPDIR (/tmp where unset): a tree of packages needs about 1 GiB for a moment"},
	{regexp.MustCompile(`(?i)could not resolve|temporary failure|unable to connect|connection (timed out|refused|failed)|failed to fetch`), "look at the network and at Debian's mirror, then type the same command again"},
	{regexp.MustCompile(`(?i)keyring|NO_PUBKEY|not signed`), "sudo apt-get install debian-archive-keyring"},
	{regexp.MustCompile(`(?i)newuidmap|newgidmap|unprivileged|unshare`), "banger doctor says whether user namespaces work here"},
}

func explain(text string, err error) error {
	var last string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "E: ") || (strings.HasPrefix(line, "W: ") && last == "") {
			last = line[3:]
		}
	}
	if last == "" {
		last = err.Error()
	}
	q := strconv.QuoteToGraphic(fmt.Sprintf("%.300s", last))
	out := fmt.Errorf("get Debian's packages by %s: %s", program, q[1:len(q)-1])
	for _, p := range problems {
		if p.words.MatchString(text) {
			return hint.Add(out, p.hint)
		}
	}
	return out
}
