package workspace

import (
	"os"

	"banger/internal/git"
	"banger/internal/lfs"
)

// guestGit runs the image's git in a work tree, with the guest's own configuration:
// what is ignored and how lines end is the guest's to say. Its index and objects
// may be others than the repository's, by env.
func guestGit(tree string, env ...string) git.Git {
	g := git.Git{
		Dir: tree,
		// Nothing of these may stop a look at the tree, or write where the user looks.
		Settings: []string{
			"core.fsmonitor=false", "core.splitIndex=false", "core.safecrlf=false", "core.hooksPath=/dev/null", "gc.auto=0",
			"advice.addEmbeddedRepo=false", "core.quotePath=true", "safe.directory=*",
			// Large files are streamed: the guest's memory is the user's.
			"core.bigFileThreshold=8m", "core.deltaBaseCacheLimit=8m", "core.packedGitWindowSize=1m", "core.packedGitLimit=16m",
			"pack.windowMemory=8m", "pack.deltaCacheSize=8m", "pack.threads=1",
			// What is packed is on its way, and what is loose is removed after it; the guest's
			// time is dearer than the bytes.
			"core.looseCompression=0", "pack.compression=1",
		},
		Env: append(append(os.Environ(), "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C"), env...),
	}
	// The pointers of LFS files that were edited; their contents are asked for later.
	for _, s := range lfs.HashOnly() {
		g.Settings = append(g.Settings, s.Key+"="+s.Value)
	}
	return g
}
