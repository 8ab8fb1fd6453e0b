package workspace

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"banger/internal/git"
)

// listConfig lists the settings that git config sees with args.
func listConfig(ctx context.Context, g git.Git, in io.Reader, args ...string) (c config, err error) {
	origin := ""
	begun := false
	err = g.Names(ctx, in, func(item []byte) error {
		if begun = !begun; begun {
			origin = strings.TrimPrefix(string(item), "file:")
			return nil
		}
		key, value, found := strings.Cut(string(item), "\n")
		if !found {
			value = valueless
		}
		c = append(c, setting{key, value, origin})
		return nil
	}, append([]string{"config", "-z", "--list", "--show-origin"}, args...)...)
	return c, err
}

// maxIncludes bounds how deep conditional includes lie in one another, as git does.
const maxIncludes = 10

// userConfig is the configuration that the user's git has: the system's and their own.
// It is the user's to trust, includes too: also those that hold for r alone, which is nil
// for none. Whether one holds is found out here: a git that knew the repository would
// read the repository's configuration as well.
func userConfig(ctx context.Context, r *Repository) (config, error) {
	g := git.Git{Dir: "/", Env: []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "GIT_CEILING_DIRECTORIES=/"}}
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"} {
		if v, set := os.LookupEnv(name); set {
			g.Env = append(g.Env, name+"="+v)
		}
	}
	c, err := listConfig(ctx, g, nil, "--includes")
	if err != nil || r == nil {
		return c, err
	}
	return r.include(ctx, g, c, 0)
}

// include puts what conditional includes name after each that holds.
func (r *Repository) include(ctx context.Context, g git.Git, c config, depth int) (out config, err error) {
	for _, s := range c {
		out = append(out, s)
		rest, is := strings.CutPrefix(s.key, "includeif.")
		condition, isPath := strings.CutSuffix(rest, ".path")
		if !is || !isPath || depth == maxIncludes {
			continue
		}
		if holds, err := r.holds(condition, s.origin); err != nil || !holds {
			continue // git takes a condition that it does not know for one that does not hold
		}
		file := expandHome(s.value)
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(s.origin), file)
		}
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			continue
		}
		more, err := listConfig(ctx, g, nil, "--includes", "--file", file)
		if err == nil {
			more, err = r.include(ctx, g, more, depth+1)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// holds reports whether a condition of includeIf holds (git-config(1), Conditional
// includes). Those on remotes' URLs never do. One on a directory holds, as with git, for the
// directory without links and for the path by which the user came there.
func (r *Repository) holds(condition, origin string) (bool, error) {
	kind, pattern, _ := strings.Cut(condition, ":")
	switch kind {
	case "gitdir", "gitdir/i":
		switch {
		case strings.HasPrefix(pattern, "./"):
			if resolved, err := filepath.EvalSymlinks(origin); err == nil {
				origin = resolved
			}
			pattern = literally.Replace(filepath.Dir(origin)) + pattern[1:]
		case strings.HasPrefix(pattern, "~/"):
			pattern = expandHome(pattern)
		case !strings.HasPrefix(pattern, "/"):
			pattern = "**/" + pattern
		}
		holds, err := matches(pattern, r.GitDir, kind == "gitdir/i")
		if err == nil && !holds && r.named != "" && r.GitDir == filepath.Join(r.Root, dotGit) {
			holds, err = matches(pattern, filepath.Join(r.named, dotGit), kind == "gitdir/i")
		}
		return holds, err
	case "onbranch":
		ref, err := readPointer(filepath.Join(r.GitDir, "HEAD"), "ref: refs/heads/")
		if err != nil || ref == "" {
			return false, err
		}
		return matches(pattern, ref, false)
	}
	return false, nil
}

// literally has a path stand for itself in a pattern.
var literally = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`)

func expandHome(path string) string {
	if rest, found := strings.CutPrefix(path, "~/"); found {
		home := os.Getenv("HOME")
		if resolved, err := filepath.EvalSymlinks(home); err == nil {
			home = resolved // as git dirs are compared
		}
		return filepath.Join(home, rest) + map[bool]string{true: "/"}[strings.HasSuffix(rest, "/")]
	}
	return path
}

// globParts are what a pattern of git's is made of, the longer first.
var globParts = regexp.MustCompile(`\*\*/|/\*\*$|\*+|\?|\[!?\]?[^\]]*\]|\\.|[^*?\[\\/]+|.`)

// matches reports whether a path matches a pattern as git's wildmatch does with
// WM_PATHNAME. A pattern that ends in / is of a directory with all in it.
func matches(pattern, path string, fold bool) (bool, error) {
	if strings.HasSuffix(pattern, "/") {
		pattern += "**"
	}
	expr := globParts.ReplaceAllStringFunc(pattern, func(p string) string {
		switch {
		case p == "**/":
			return "(?:.*/)?"
		case p == "/**":
			return "/.*"
		case p[0] == '*':
			return "[^/]*"
		case p == "?":
			return "[^/]"
		case p[0] == '[' && len(p) > 1:
			return strings.Replace(p, "[!", "[^", 1)
		case p[0] == '\\' && len(p) > 1:
			return regexp.QuoteMeta(p[1:])
		}
		return regexp.QuoteMeta(p)
	})
	if fold {
		expr = "(?i:" + expr + ")"
	}
	re, err := regexp.Compile("^(?s:" + expr + ")$")
	if err != nil {
		return false, err
	}
	return re.MatchString(path), nil
}
