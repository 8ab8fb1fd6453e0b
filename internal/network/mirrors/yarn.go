package mirrors

import (
	"regexp"
	"strings"
)

// yarnKeys are the keys of Yarn 2 and later.
var yarnKeys = map[string]key{
	"npmRegistryServer": {}, "httpProxy": {scheme: "http"}, "httpsProxy": {scheme: "http"},
}

var yarnScope = regexp.MustCompile(`^npmScopes\.[A-Za-z0-9._~-]+\.npmRegistryServer$`)

// yarn reads the files of Yarn 1 (.yarnrc) and of later ones (.yarnrc.yml).
func (r *reader) yarn() (out []Setting) {
	for _, file := range []string{"/usr/local/share/.yarnrc", r.inHome(".yarnrc")} {
		if text, ok := r.read(file); ok {
			out = over(out, r.npmPairs("yarn", file, parseYarn(text)))
		}
	}
	if v := r.env["YARN_REGISTRY"]; v != "" {
		out = over(out, r.npmPairs("yarn", "$YARN_REGISTRY", []pair{{"registry", v}}))
	}
	if r.env["YARN_RC_FILENAME"] != "" {
		r.note("$YARN_RC_FILENAME is not followed: it names a file of projects")
	}
	file := r.inHome(".yarnrc.yml")
	if text, ok := r.read(file); ok {
		for _, p := range parseYAML(text) {
			keys := yarnKeys
			if yarnScope.MatchString(p.key) {
				keys = map[string]key{p.key: {}}
			}
			out = over(out, r.settings("yarn", file, []pair{p}, keys))
		}
	}
	for _, p := range []pair{{"YARN_NPM_REGISTRY_SERVER", "npmRegistryServer"}, {"YARN_HTTP_PROXY", "httpProxy"}, {"YARN_HTTPS_PROXY", "httpsProxy"}} {
		if v := r.env[p.key]; v != "" {
			out = over(out, r.settings("yarn", "$"+p.key, []pair{{p.value, v}}, yarnKeys))
		}
	}
	return out
}

// parseYarn reads .yarnrc of Yarn 1: a key and a value a line, either in quotes or not.
// Blocks below a key are left out.
func parseYarn(text string) (out []pair) {
	for line := range strings.Lines(text) {
		if line[0] == ' ' || line[0] == '\t' || line[0] == '#' {
			continue
		}
		line = strings.TrimSpace(line)
		k, v, ok := strings.Cut(line, " ")
		if len(line) > 0 && line[0] == '"' {
			if end := strings.IndexByte(line[1:], '"'); end >= 0 {
				k, v, ok = line[1:end+1], line[end+2:], true
			}
		}
		if ok {
			out = append(out, pair{k, unquote(strings.TrimSpace(v))})
		}
	}
	return out
}

// parseYAML reads of YAML what the files of package clients are made of: maps in maps
// by indentation with plain or quoted scalars. The keys of a path are joined by dots.
// Lists, anchors, texts of several lines and maps in braces are left out.
func parseYAML(text string) (out []pair) {
	type level struct {
		indent int
		key    string
	}
	var path []level
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		body := strings.TrimLeft(line, " ")
		if body == "" || body[0] == '#' || body[0] == '-' || body[0] == '\t' {
			continue
		}
		indent := len(line) - len(body)
		for len(path) > 0 && path[len(path)-1].indent >= indent {
			path = path[:len(path)-1]
		}
		k, v, ok := cutKey(body)
		if !ok || len(path) > 8 || len(k) > 256 {
			continue
		}
		full := k
		for i := len(path) - 1; i >= 0; i-- {
			full = path[i].key + "." + full
		}
		if v == "" {
			path = append(path, level{indent, k})
			continue
		}
		if strings.ContainsRune("&*!|>{[%@`", rune(v[0])) {
			continue
		}
		if v[0] == '"' || v[0] == '\'' {
			end := strings.IndexByte(v[1:], v[0])
			if end < 0 {
				continue
			}
			v = v[1 : end+1]
		} else if i := strings.Index(v, " #"); i >= 0 {
			v = strings.TrimSpace(v[:i])
		}
		out = append(out, pair{full, v})
	}
	return out
}

// cutKey splits a line of YAML in its key and the rest.
func cutKey(body string) (key, value string, ok bool) {
	if body[0] == '"' || body[0] == '\'' {
		end := strings.IndexByte(body[1:], body[0])
		if end < 0 || !strings.HasPrefix(body[end+2:], ":") {
			return "", "", false
		}
		return body[1 : end+1], strings.TrimSpace(body[end+3:]), true
	}
	if key, ok = strings.CutSuffix(body, ":"); ok {
		return key, "", true
	}
	key, value, ok = strings.Cut(body, ": ")
	return strings.TrimSpace(key), strings.TrimSpace(value), ok
}
