package mirrors

import (
	"path"
	"regexp"
	"strings"
)

// npmKeys are the keys of npm's, and of what reads its files.
var npmKeys = map[string]key{
	"registry": {}, "proxy": {scheme: "http"}, "https-proxy": {scheme: "http"}, "noproxy": {plain: hostList},
}

var scope = regexp.MustCompile(`^@[A-Za-z0-9._~-]+:registry$`)

// npmPairs are the pairs of which a setting is made: named ones and registries of
// scopes, keys in lower case. "null" unsets a key.
func (r *reader) npmPairs(client, origin string, pairs []pair) (out []Setting) {
	for _, p := range pairs {
		keys := map[string]key{p.key: {}}
		if !scope.MatchString(p.key) {
			keys = npmKeys
			p.key = strings.ToLower(p.key)
		}
		if p.value != "null" && p.value != "" {
			out = over(out, r.settings(client, origin, []pair{p}, keys))
		}
	}
	return out
}

// npm reads npm's configuration (npmrc(5)), what goes first last.
func (r *reader) npm() []Setting {
	out, places := r.npmBuilds()
	global := append([]string{"/etc/npmrc", "/usr/etc/npmrc", "/usr/local/etc/npmrc"}, places...)
	if named := r.named(r.npmVariable("globalconfig"), ""); named != "" {
		global = []string{named}
	}
	user := r.named(r.npmVariable("userconfig"), r.inHome(".npmrc"))
	text, ok := r.read(user)
	pairs := parseNPM(text)
	for _, p := range append(pairs, pair{"prefix", r.env["NPM_CONFIG_PREFIX"]}) {
		if p.key == "prefix" && path.IsAbs(p.value) {
			global = append(global, path.Join(p.value, "etc/npmrc"))
		}
	}
	for _, file := range global {
		if text, ok := r.read(file); ok {
			out = over(out, r.npmPairs("npm", file, parseNPM(text)))
		}
	}
	if ok {
		out = over(out, r.npmPairs("npm", user, pairs))
	}
	return over(out, r.npmEnv())
}

// npmVariable is the name of the variable for a key. npm takes any case.
func (r *reader) npmVariable(key string) string {
	if lower := "npm_config_" + key; r.env[lower] != "" && r.env["npm_lifecycle_event"] == "" {
		return lower
	}
	return "NPM_CONFIG_" + strings.ToUpper(key)
}

// npmEnv reads npm_config_*, but those that npm sets for a project's script.
func (r *reader) npmEnv() (out []Setting) {
	script := r.env["npm_lifecycle_event"] != ""
	for _, name := range sortedKeys(r.env) {
		rest, ok := strings.CutPrefix(strings.ToLower(name), "npm_config_")
		if !ok {
			continue
		}
		if script && !strings.HasPrefix(name, "NPM_CONFIG_") {
			continue
		}
		if !scope.MatchString(rest) {
			rest = strings.ReplaceAll(rest, "_", "-")
		}
		out = over(out, r.npmPairs("npm", "$"+name, []pair{{rest, r.env[name]}}))
	}
	if script {
		r.note("npm_config_* is not read: a script of npm's runs, and a project may have set it")
	}
	return out
}

// npmDefault finds the registry that npm's own table of keys gives as the default.
var npmDefault = regexp.MustCompile(`['"]registry['"], (?:new Definition\(['"]registry['"], )?\{\s+default: ['"]([^'"]+)['"]`)

// npmBuilds reads what the installed npm comes with: its own npmrc, and the default
// registry. It returns the global files that belong to installations.
func (r *reader) npmBuilds() (out []Setting, global []string) {
	var dirs []string
	for _, p := range r.programs("node") {
		global = append(global, path.Join(path.Dir(path.Dir(p)), "etc/npmrc"))
	}
	for _, p := range r.programs("npm") {
		dirs = append(dirs, path.Dir(path.Dir(p))) // npm/bin/npm-cli.js
	}
	for _, dir := range append(dirs, "/usr/share/nodejs/npm") {
		for _, file := range []string{
			path.Join(dir, "node_modules/@npmcli/config/lib/definitions/definitions.js"),
			path.Join(path.Dir(dir), "@npmcli/config/lib/definitions/definitions.js"),
			path.Join(dir, "lib/utils/config/definitions.js"),
		} {
			text, err := r.content(file)
			if m := npmDefault.FindStringSubmatch(text); err == nil && m != nil {
				out = r.settings("npm", file, []pair{{"registry", m[1]}}, npmKeys)
				break
			}
		}
		file := path.Join(dir, "npmrc")
		if text, err := r.content(file); err == nil {
			out = over(out, r.npmPairs("npm", file, parseNPM(text)))
		}
		if len(out) > 0 {
			break
		}
	}
	for i := range out {
		out[i].Default = true
	}
	return out, global
}

// pnpm reads pnpm's own files, beside npm's, which it reads too.
func (r *reader) pnpm() (out []Setting) {
	file := r.userConfig("pnpm/rc")
	if text, ok := r.read(file); ok {
		out = r.npmPairs("pnpm", file, parseNPM(text))
	}
	file = r.userConfig("pnpm/config.yaml")
	if text, ok := r.read(file); ok {
		for _, p := range parseYAML(text) {
			p.key = strings.TrimPrefix(p.key, "registries.")
			switch {
			case p.key == "default":
				p.key = "registry"
			case strings.HasPrefix(p.key, "@") && !strings.Contains(p.key, ":"):
				p.key += ":registry"
			}
			out = over(out, r.npmPairs("pnpm", file, []pair{p}))
		}
	}
	return out
}
