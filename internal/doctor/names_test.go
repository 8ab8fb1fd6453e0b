package doctor

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/paths"
)

func TestNames(t *testing.T) {
	answering := paths.Dirs{State: t.TempDir()}
	l, err := net.Listen("unix", answering.Socket())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	etc := t.TempDir()
	if err := os.Mkdir(filepath.Join(etc, "dnsmasq.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		dirs    paths.Dirs
		problem string
		found   []string
		etc     string
		status  Status
		want    string
		not     string
	}{
		"no daemon": {paths.Dirs{State: t.TempDir()}, "", nil, etc, OK, "while bangerd runs", "→"},
		"taken":     {answering, "address already in use", nil, etc, Warn, "in use", "tee"},
		"resolved":  {answering, "", []string{"127.0.0.1"}, etc, OK, "resolves", "tee"},
		"another":   {answering, "", []string{"198.51.100.1"}, etc, OK, "server=/vm/127.0.0.1#42069", "resolved.conf"},
		"unknown":   {answering, "", nil, t.TempDir(), OK, `DNS=127.0.0.1:42069\nDomains=~vm`, "sudo "},
	} {
		t.Run(name, func(t *testing.T) {
			e := Env{Dirs: c.dirs, Etc: c.etc, UID: 0,
				NamesProblem: func(context.Context) (string, error) { return c.problem, nil },
				Resolve: func(context.Context, string) ([]string, error) {
					if c.found == nil {
						return nil, errors.New("no such host")
					}
					return c.found, nil
				}}
			r := checkNames(context.Background(), e)
			text := r.Detail + " → " + r.Fix
			if r.Fix == "" {
				text = r.Detail
			}
			if r.Status != c.status || !strings.Contains(text, c.want) || strings.Contains(text, c.not) {
				t.Errorf("checkNames = %s %q, want %s with %q and without %q", r.Status, text, c.status, c.want, c.not)
			}
		})
	}
}
