// Package launch starts every process that outlives its starter or needs
// limits of its own: a fresh process (`bangerd launch`) takes what a Spec
// says (session, descriptors, limits, parent death) and then execs the
// program.
//
// A running Go process can do little of this to itself, and nothing of it
// between fork and exec; the launcher is a process of its own for that reason.
package launch

import (
	"os"

	"banger/internal/landlock"
)

// Spec is a process to start.
type Spec struct {
	Path string   // absolute path of the program
	Args []string // without argv[0], which is Path
	Env  []string // the whole environment; nil is an empty one
	Dir  string   // working directory; "" is /

	// Files become descriptors 3, 4, … of the program; no others are open in
	// it but 0 (Stdin), 1 (Stdout) and 2 (Stderr). Nil stands for
	// /dev/null. The caller closes its own copies after Start.
	Files                 []*os.File
	Stdin, Stdout, Stderr *os.File

	// NewSession detaches the process from the starter's session and terminal.
	NewSession bool
	// DieWithParent kills the program (SIGKILL) when the starter ends. The
	// starting thread has to live as long as the starter: Start sees to it.
	DieWithParent bool
	// OnlyKill blocks the signals that ask a process to end (SIGTERM, SIGINT,
	// SIGHUP, SIGQUIT): a logout or a shutdown of the host sends them to each
	// process, and this one's end is its starter's to choose.
	OnlyKill bool

	NoNewPrivs bool
	// Access, where it isn't nil, is all that the program may do with files, and
	// keeps it from the network and other processes (package landlock); it brings
	// NoNewPrivs along. Path and its ELF interpreter may be executed in any
	// case. What this kernel can't do of it is in Child.Gaps and no error.
	Access *landlock.Access
	// Sockets are those that the program may make beside what it inherits
	// (seccomp). Other than AnySockets they bring NoNewPrivs along, and keep
	// io_uring from it.
	Sockets Sockets
	// NoCore keeps the kernel from writing the program's memory to a file.
	NoCore bool
	// MaxFileSize (bytes) and MaxOpenFiles are rlimits; 0 leaves the starter's,
	// and one above the starter's hard limit is that.
	MaxFileSize  int64
	MaxOpenFiles int64
}
