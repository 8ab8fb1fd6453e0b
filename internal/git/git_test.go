package git

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
)

func here(t *testing.T) Git {
	return Git{Dir: t.TempDir(), Env: append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C")}
}

func TestRun(t *testing.T) {
	g := here(t)
	g.Settings = []string{"user.name=N"}
	if got, err := g.Line(t.Context(), nil, "config", "user.name"); got != "N" || err != nil {
		t.Errorf("config = %q, %v", got, err)
	}
	if got, err := g.Line(t.Context(), strings.NewReader("x"), "hash-object", "--stdin"); len(got) != 40 || err != nil {
		t.Errorf("hash-object = %q, %v", got, err)
	}
	var names []string
	err := g.Names(t.Context(), strings.NewReader("[a]\n\tb = 1\n\tc = 2\n"), func(n []byte) error { names = append(names, string(n)); return nil },
		"config", "--file", "-", "-z", "--list")
	if strings.Join(names, "|") != "a.b\n1|a.c\n2" || err != nil {
		t.Errorf("names = %q, %v", names, err)
	}
	stop := errors.New("enough")
	if err := g.Names(t.Context(), strings.NewReader("[a]\n\tb = 1\n"), func([]byte) error { return stop }, "config", "--file", "-", "-z", "--list"); err != stop {
		t.Errorf("Names = %v, want the callee's error", err)
	}
}

func TestErrors(t *testing.T) {
	g := here(t)
	_, err := g.Run(t.Context(), nil, "-c", "a.b=c", "rev-parse", "--verify", "HEAD")
	var failed *Error
	if !errors.As(err, &failed) || failed.Status() != 128 || !strings.HasPrefix(err.Error(), "git rev-parse: exit status 128: fatal: ") {
		t.Errorf("rev-parse outside of a repository = %v", err)
	}
	r, w := io.Pipe()
	r.Close()
	if err := g.Stream(t.Context(), nil, w, "--version"); err == nil {
		t.Error("Stream to a reader that is gone gave no error")
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	pr.Close()
	defer pw.Close()
	if err := g.Stream(t.Context(), bytes.NewReader(nil), pw, "help", "-a"); err != nil && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Stream to a closed pipe = %v, want EPIPE", err)
	}
}

func TestQuote(t *testing.T) {
	if got := Quote("/a\"b\\c\n\xff:d"); got != `"/a\"b\\c\012\377:d"` {
		t.Errorf("Quote = %s", got)
	}
}
