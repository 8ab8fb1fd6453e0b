package debian

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/hint"
	"banger/internal/progress"
)

// steps are mmdebstrap's own, in order, by how its lines begin, and in the
// words for a user. A variant leaves some out.
var steps = []struct{ begins, text string }{
	{"running apt-get update", "reading Debian's package lists"},
	{"downloading packages with apt", "downloading packages"},
	{"extracting archives", "unpacking packages"},
	{"installing essential packages", "installing essential packages"},
	{"installing remaining packages", "installing packages"},
	{"running --", "adapting the tree"},
	{"cleaning package lists", "cleaning up"},
	{"creating tarball", "reading the tree"},
}

// transcript is what is kept of mmdebstrap's stderr.
type transcript struct {
	first string // error line: the cause; what follows is its echo
	last  string // line of any kind
	all   string // its end, maxWords bytes or fewer
}

const (
	maxWords = 16 << 10
	maxLine  = 64 << 10
)

// follow turns mmdebstrap's lines into steps until r ends.
func follow(r io.Reader, q Request) transcript {
	var t transcript
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		t.last = line
		if t.all += line + "\n"; len(t.all) > maxWords {
			t.all = t.all[len(t.all)-maxWords/2:]
		}
		if text, ok := strings.CutPrefix(line, "E: "); ok && t.first == "" {
			t.first = text
		}
		// The hooks that are apt's belong to the steps before them.
		apt := strings.HasPrefix(line, "I: running --") && strings.Contains(line, recommending)
		setup := strings.HasPrefix(line, "I: running --setup-hook")
		if text, ok := strings.CutPrefix(line, "I: "); ok && !apt && !setup {
			for i, s := range steps {
				if strings.HasPrefix(text, s.begins) {
					q.Step(progress.Step{Stage: q.Stage, Text: s.text, Done: int64(i), Total: int64(len(steps)), Unit: "steps"})
				}
			}
		}
	}
	io.Copy(io.Discard, r) // a line too long ends the scan, not the process
	return t
}

// problems are what mmdebstrap's and apt's words mean to a user.
var problems = []struct {
	words *regexp.Regexp
	hint  string
}{
	{regexp.MustCompile(`(?i)NO_PUBKEY|is not signed|signatures? (couldn't|could not|were invalid)|EXPKEYSIG`),
		"the keys are too old or missing: " + install},
	{regexp.MustCompile(`(?i)could not (resolve|connect)|temporary failure|unable to connect|connection (timed out|refused|failed)|failed to fetch|undetermined error|network is unreachable`),
		"look at the network (http_proxy and https_proxy are honoured), then type the same command again"},
	{regexp.MustCompile(`(?i)newuidmap|newgidmap|unprivileged|unshare|user namespace|uid_map`),
		"banger doctor says whether user namespaces work here"},
}

// unknown is how apt says that it knows no package of that name, or has none of it.
var unknown = regexp.MustCompile(`(?m)^E: (?:Unable to locate package (\S+)|Package '(\S+)' has no installation candidate)$`)

var diskFull = regexp.MustCompile(`(?i)no space left on device|don't have enough free space|disk quota exceeded`)

// explain makes an error of mmdebstrap's words.
func explain(t transcript, err error, dir string) error {
	cause := t.first
	if cause == "" {
		cause = t.last
	}
	if cause == "" {
		cause = err.Error()
	}
	if diskFull.MatchString(t.all) {
		return hint.Add(fmt.Errorf("get Debian's packages: %w (temporary files in %q)", unix.ENOSPC, dir),
			"make room there, or set TMPDIR to a directory with more")
	}
	var names []string
	for _, f := range unknown.FindAllStringSubmatch(t.all, -1) {
		names = append(names, strconv.QuoteToGraphic(fmt.Sprintf("%.80s", f[1]+f[2])))
	}
	if len(names) > 0 {
		return hint.Add(fmt.Errorf("get Debian's packages: Debian %s has no package %.400s", Suite, strings.Join(slices.Compact(names), ", ")),
			"look for the name by apt-cache search on a machine with Debian 12")
	}
	// The words can hold a server's: they are quoted for a terminal.
	q := strconv.QuoteToGraphic(fmt.Sprintf("%.400s", cause))
	out := errors.New("get Debian's packages by " + program + ": " + q[1:len(q)-1])
	for _, p := range problems {
		if p.words.MatchString(t.all) {
			return hint.Add(out, p.hint)
		}
	}
	return out
}
