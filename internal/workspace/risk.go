package workspace

import (
	"path"
	"slices"
	"strings"
)

// risk says why a change could run something on the host when the user works on
// with the tree; "" if it could not by itself. It names the usual ways, and can't
// name all: whatever a build runs is the guest's now.
func risk(c Change) string {
	switch {
	case c.NewMode == 0:
		return "" // it goes
	case c.NewMode == modeGitlink:
		return "submodule"
	case c.NewMode == modeLink:
		return "symbolic link"
	}
	name := strings.ToLower(string(c.Path))
	base, parts := path.Base(name), strings.Split(name, "/")
	for _, r := range risks {
		if slices.Contains(r.names, base) || slices.ContainsFunc(parts[:len(parts)-1], func(dir string) bool { return slices.Contains(r.dirs, dir) }) {
			return r.why
		}
	}
	switch {
	case c.NewMode == modeExec && c.OldMode != modeExec:
		return "new executable"
	case c.NewMode == modeExec:
		return "changed executable"
	}
	return ""
}

var risks = []struct {
	why         string
	names, dirs []string
}{
	{"git's own settings", []string{".gitattributes", ".gitmodules", ".gitconfig", ".lfsconfig"}, nil},
	{"git hook", []string{".pre-commit-config.yaml", "lefthook.yml", "lefthook.yaml", ".lefthook.yml", ".huskyrc", ".huskyrc.js", ".huskyrc.json"},
		[]string{".husky", ".githooks", "githooks", ".hooks"}},
	{"run by the shell", []string{".envrc", ".env", ".autoenv", ".tool-versions", "mise.toml", ".mise.toml"}, nil},
	{"an agent's settings", []string{".mcp.json", "claude.md", "agents.md", ".cursorrules", ".windsurfrules"},
		[]string{".claude", ".cursor", ".codex", ".gemini", ".aider", ".continue", ".windsurf"}},
	{"an editor's settings", []string{".vimrc", ".nvimrc", ".nvim.lua", ".exrc", ".dir-locals.el", ".project"},
		[]string{".vscode", ".idea", ".zed", ".fleet", ".devcontainer"}},
	{"CI", []string{".gitlab-ci.yml", "jenkinsfile", ".travis.yml", "azure-pipelines.yml", ".drone.yml", ".woodpecker.yml"},
		[]string{"workflows", ".circleci", ".buildkite", ".forgejo", ".gitea", ".woodpecker"}},
}
