package lfs

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"banger/internal/git"
)

// Program is the first argument of the agent's program that is the filter.
const Program = "lfs"

// Verbs of the filter: its second argument.
const (
	verbProcess = "process" // answers git for all files of a command
	verbHash    = "hash"    // process, but keeps no content
	verbClean   = "clean"
	verbSmudge  = "smudge"
)

// Agent is how a shell starts the agent's program: by a path that every guest has
// (package agent binds it there). The stand-in, whose guests have no root of their own,
// sets another before it is used, without quotes or backslashes.
var Agent = "/run/banger/banger-agent"

// Setting is one of a git configuration's.
type Setting struct{ Key, Value string }

// Settings make the agent's program a repository's filter.lfs.
func Settings() []Setting {
	return []Setting{
		{"filter.lfs.process", Agent + " " + Program + " " + verbProcess},
		{"filter.lfs.clean", Agent + " " + Program + " " + verbClean},
		{"filter.lfs.smudge", Agent + " " + Program + " " + verbSmudge},
		{"filter.lfs.required", "true"}, // without it a filter that can't run lets contents into trees
	}
}

// HashOnly makes it a command's filter.lfs that keeps no content.
func HashOnly() []Setting {
	return []Setting{
		{"filter.lfs.process", Agent + " " + Program + " " + verbHash},
		{"filter.lfs.required", "true"},
	}
}

// Config is Settings as a part of a configuration file.
func Config() string {
	var b strings.Builder
	b.WriteString("[filter \"lfs\"]\n")
	for _, s := range Settings() {
		fmt.Fprintf(&b, "\t%s = \"%s\"\n", strings.TrimPrefix(s.Key, "filter.lfs."), s.Value)
	}
	return b.String()
}

// Run is the filter as git starts it, in a work tree.
func Run(ctx context.Context, args []string, _ string, in io.Reader, out io.Writer) error {
	f := &Filter{GitDir: sync.OnceValues(func() (string, error) {
		here := git.Git{Env: os.Environ()}
		return here.Line(ctx, nil, "rev-parse", "--path-format=absolute", "--git-common-dir")
	})}
	if len(args) == 1 {
		switch args[0] {
		case verbHash:
			f.HashOnly = true
			return f.Process(in, out)
		case verbProcess:
			return f.Process(in, out)
		case verbClean:
			return f.Clean(in, out)
		case verbSmudge:
			return f.Smudge(in, out)
		}
	}
	return fmt.Errorf("%q: want %s, %s, %s or %s", args, verbProcess, verbHash, verbClean, verbSmudge)
}
