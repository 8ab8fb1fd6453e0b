package workspace

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"banger/internal/git"
)

// ignores asks one git, which runs on, what it ignores.
type ignores struct {
	in    *os.File
	ended chan error
	says  chan bool
}

// startWanted starts a git that ignores what the patterns name.
func (p *Plan) startWanted(ctx context.Context, patterns []string) (*ignores, error) {
	repo, tree := filepath.Join(p.s.dir, "wanted"), filepath.Join(p.s.dir, "nothing")
	for _, dir := range []string{tree, filepath.Join(repo, "objects"), filepath.Join(repo, "refs"), filepath.Join(repo, "info")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	for name, text := range map[string]string{"HEAD": "ref: refs/heads/none\n", "info/exclude": strings.Join(patterns, "\n") + "\n"} {
		if err := os.WriteFile(filepath.Join(repo, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return startIgnores(ctx, hostGit(repo, tree))
}

// startIgnores starts git check-ignore, which reads the .gitignore files in g's work
// tree.
func startIgnores(ctx context.Context, g git.Git) (*ignores, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ig := &ignores{in: w, ended: make(chan error, 1), says: make(chan bool)}
	go func() { // ends when in is closed, or with ctx
		defer r.Close()
		defer close(ig.says)
		err := g.Read(ctx, r, func(out *bufio.Reader) error {
			for {
				said, err := readIgnore(out)
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return err
				}
				ig.says <- said
			}
		}, "check-ignore", "-z", "-v", "-n", "--no-index", "--stdin")
		ig.ended <- err
	}()
	return ig, nil
}

// readIgnore reads an answer of check-ignore -z -v -n: source, line, pattern, path.
// A pattern that begins with ! takes back what an earlier one ignored.
func readIgnore(r *bufio.Reader) (ignored bool, err error) {
	var fields [4][]byte
	for i := range fields {
		if fields[i], err = r.ReadBytes(0); err != nil {
			return false, err
		}
	}
	pattern := fields[2]
	return len(pattern) > 1 && pattern[0] != '!', nil
}

// ask reports whether git ignores a path. A directory is there in the scratch work
// tree, so that git sees what it is.
func (ig *ignores) ask(name string) (bool, error) {
	if _, err := ig.in.WriteString(git.Here + name + "\x00"); err != nil {
		return false, err
	}
	ignored, ok := <-ig.says
	if !ok {
		return false, errors.New("git check-ignore ended")
	}
	return ignored, nil
}

// close ends git. One that ignored nothing ends with status 1.
func (ig *ignores) close() error {
	ig.in.Close()
	for range ig.says {
	}
	err := <-ig.ended
	var failed *git.Error
	if errors.As(err, &failed) && failed.Status() == 1 {
		return nil
	}
	return err
}
