package workspace

import (
	"context"
	"errors"
	"os"
	"strings"

	"banger/internal/git"
	"banger/internal/hint"
)

// settings are told to every git: none runs a program, asks the network, or writes
// what nobody asked for, whatever the user's git is configured to do.
var settings = []string{
	"core.hooksPath=/dev/null", "core.fsmonitor=false", "core.untrackedCache=false", "core.splitIndex=false",
	"core.quotePath=true", "core.safecrlf=false", "core.commitGraph=false", "gc.auto=0", "maintenance.auto=false",
	"protocol.allow=never", "safe.bareRepository=explicit", "safe.directory=*", "color.ui=false",
	// What a git takes of the memory: large files are streamed, and no delta of theirs is
	// looked for.
	"core.bigFileThreshold=8m", "core.deltaBaseCacheLimit=8m", "core.packedGitWindowSize=1m", "core.packedGitLimit=16m",
	"pack.windowMemory=8m", "pack.deltaCacheSize=8m", "pack.threads=1",
}

// guestMemory bounds a git that reads a guest's objects, in bytes of its address space:
// a delta of a few bytes can make gigabytes, and lines that are compared take fifty
// bytes each.
const guestMemory = 2 << 30

// hostGit runs the host's git in a repository of ours: dir is its git directory,
// tree its work tree, "" for a bare one.
func hostGit(dir, tree string, env ...string) git.Git {
	g := git.Git{Dir: dir, Settings: settings, Env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/dev/null", "LC_ALL=C", "GIT_DIR=" + dir,
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_ATTR_NOSYSTEM=1",
		"GIT_NO_LAZY_FETCH=1", "GIT_NO_REPLACE_OBJECTS=1", "GIT_ALLOW_PROTOCOL=none", "GIT_TERMINAL_PROMPT=0",
		"GIT_OPTIONAL_LOCKS=0",
	}}
	if tree != "" {
		g.Dir = tree
		g.Env = append(g.Env, "GIT_WORK_TREE="+tree)
	}
	g.Env = append(g.Env, env...)
	return g
}

// ref is a ref's full name, and what it is at.
type ref struct{ id, name string }

// listRefs lists the refs below prefixes, in the order of their names.
func listRefs(ctx context.Context, g git.Git, prefixes ...string) (refs []ref, err error) {
	list, err := g.Run(ctx, nil, append([]string{"for-each-ref", "--format=%(objectname) %(refname)"}, prefixes...)...)
	for line := range strings.Lines(string(list)) {
		if id, name, found := strings.Cut(strings.TrimSuffix(line, "\n"), " "); found {
			refs = append(refs, ref{id, name})
		}
	}
	return refs, err
}

// withHint says what to do about a git that the host lacks.
func withHint(err error) error {
	if errors.Is(err, git.ErrMissing) {
		return hint.Missing(err, "install git, version 2.39 or newer")
	}
	return err
}
