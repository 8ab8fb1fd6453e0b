package mirrors

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// pipKeys are the keys of pip's, without "global." or the command's name.
var pipKeys = map[string]key{
	"index-url": {}, "extra-index-url": {list: " \t\n"}, "find-links": {list: " \t\n,"},
	"proxy": {scheme: "http"}, "trusted-host": {plain: hostList},
}

// pip reads pip's configuration files and variables. The file of a virtual environment
// is not read, because that may lie in a project.
func (r *reader) pip() (out []Setting) {
	out = r.pipDefault()
	files := []string{"/etc/xdg/pip/pip.conf", "/etc/pip.conf", r.inHome(".pip/pip.conf"), r.userConfig("pip/pip.conf")}
	switch v := r.env["PIP_CONFIG_FILE"]; v {
	case "":
	case "/dev/null":
		files = nil
	default:
		files = append(files, r.named("PIP_CONFIG_FILE", ""))
	}
	for _, file := range files {
		text, ok := r.read(file)
		if !ok {
			continue
		}
		pairs, err := parsePip(text)
		if err != nil {
			r.note("%s is read only in part: %v", shown(file), err)
		}
		out = over(out, r.settings("pip", file, pairs, pipKeys))
	}
	for _, key := range sortedKeys(pipKeys) {
		name := "PIP_" + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
		if v := r.env[name]; v != "" {
			out = over(out, r.settings("pip", "$"+name, []pair{{key, v}}, pipKeys))
		}
	}
	if slices.ContainsFunc(out, func(s Setting) bool { return s.Key == "index-url" && !s.Default }) {
		out = slices.DeleteFunc(out, func(s Setting) bool { return s.Default })
	}
	return out
}

// pipIndex finds the index, and the host of its files, that pip's own code has as the
// default.
var pipIndex = regexp.MustCompile(`PyPI = PackageIndex\(\s*['"]([^'"]+)['"],\s*file_storage_domain=['"]([^'"]+)['"]`)

// pipDefault reads the default index of the installed pip: Debian's, those beside a
// Python in PATH, and pyenv's.
func (r *reader) pipDefault() []Setting {
	dirs := []string{"/usr/lib/python3/dist-packages"}
	roots := []string{"/usr/local"}
	for _, p := range append(r.programs("pip3"), r.programs("python3")...) {
		roots = append(roots, path.Dir(path.Dir(p)))
	}
	for _, n := range r.list(r.inHome(".pyenv/versions")) {
		roots = append(roots, r.inHome(path.Join(".pyenv/versions", n)))
	}
	if r.home != "" {
		roots = append(roots, r.inHome(".local"))
	}
	for _, root := range roots {
		for _, n := range r.list(path.Join(root, "lib")) {
			if strings.HasPrefix(n, "python3") {
				dirs = append(dirs, path.Join(root, "lib", n, "site-packages"))
			}
		}
	}
	for _, dir := range dirs {
		file := path.Join(dir, "pip/_internal/models/index.py")
		text, err := r.content(file)
		m := pipIndex.FindStringSubmatch(text)
		if err != nil || m == nil {
			continue
		}
		keys := map[string]key{"index-url": {}, "file storage": {scheme: "https"}}
		out := r.settings("pip", file, []pair{{"index-url", m[1]}, {"file storage", m[2]}}, keys)
		for i := range out {
			out[i].Default = true
		}
		return out
	}
	return nil
}

// uvFile is what of uv.toml is read. Keys at the top and in [pip] mean the same.
type uvFile struct {
	uvIndexes
	Index []struct {
		Name    string `toml:"name"`
		URL     string `toml:"url"`
		Default bool   `toml:"default"`
	} `toml:"index"`
	Insecure []string  `toml:"allow-insecure-host"`
	Mirror   string    `toml:"python-install-mirror"`
	PyPy     string    `toml:"pypy-install-mirror"`
	Pip      uvIndexes `toml:"pip"`
}

type uvIndexes struct {
	IndexURL  string   `toml:"index-url"`
	Extra     []string `toml:"extra-index-url"`
	FindLinks []string `toml:"find-links"`
}

// uvKeys are uv's, the older names beside the newer ones.
var uvKeys = map[string]key{
	"default-index": {}, "index": {list: " \t\n"}, "find-links": {list: " \t\n,"},
	"python-install-mirror": {}, "pypy-install-mirror": {}, "allow-insecure-host": {plain: hostList},
}

// uvVariables are the variables and the keys that they stand for.
var uvVariables = []pair{
	{"UV_INDEX_URL", "default-index"}, {"UV_DEFAULT_INDEX", "default-index"}, {"UV_EXTRA_INDEX_URL", "index"}, {"UV_INDEX", "index"},
	{"UV_FIND_LINKS", "find-links"}, {"UV_PYTHON_INSTALL_MIRROR", "python-install-mirror"},
	{"UV_PYPY_INSTALL_MIRROR", "pypy-install-mirror"}, {"UV_INSECURE_HOST", "allow-insecure-host"},
}

// uv reads uv.toml of the system and the user, and uv's variables.
func (r *reader) uv() (out []Setting) {
	files := []string{"/etc/uv/uv.toml", r.userConfig("uv/uv.toml")}
	if file := r.named("UV_CONFIG_FILE", ""); file != "" {
		files = []string{file}
	}
	for _, file := range files {
		text, ok := r.read(file)
		if !ok {
			continue
		}
		pairs, err := parseUV(text)
		if err != nil {
			r.note("%s is not read: %v", shown(file), wrongTOML(err))
		}
		out = overUV(out, r.settings("uv", file, pairs, uvKeys))
	}
	for _, v := range uvVariables {
		value := r.env[v.key]
		if value == "" {
			continue
		}
		if v.value == "index" || v.value == "default-index" { // name=URL
			value = indexName.ReplaceAllString(value, "$1")
		}
		out = overUV(out, r.settings("uv", "$"+v.key, []pair{{v.value, value}}, uvKeys))
	}
	return out
}

// overUV is over, but that lists of low go behind those of high, as uv joins them.
func overUV(low, high []Setting) []Setting {
	isList := func(s Setting) bool { return uvKeys[s.Key].list != "" || uvKeys[s.Key].plain != nil }
	lists := slices.DeleteFunc(slices.Clone(low), func(s Setting) bool { return !isList(s) })
	rest := slices.DeleteFunc(slices.Clone(low), isList)
	return append(over(rest, high), lists...)
}

var indexName = regexp.MustCompile(`(^|\s)[A-Za-z0-9._-]+=`)

func parseUV(text string) (out []pair, err error) {
	var f uvFile
	if err := toml.Unmarshal([]byte(text), &f); err != nil {
		return nil, err
	}
	for _, x := range f.Index {
		out = append(out, pair{map[bool]string{true: "default-index", false: "index"}[x.Default], x.URL})
	}
	for _, x := range []uvIndexes{f.uvIndexes, f.Pip} {
		out = append(out, pair{"default-index", x.IndexURL}, pair{"index", strings.Join(x.Extra, " ")},
			pair{"find-links", strings.Join(x.FindLinks, " ")})
	}
	return append(out, pair{"python-install-mirror", f.Mirror}, pair{"pypy-install-mirror", f.PyPy},
		pair{"allow-insecure-host", strings.Join(f.Insecure, " ")}), nil
}

// wrongTOML is an error of TOML without the line's text.
func wrongTOML(err error) string {
	var d *toml.DecodeError
	if errors.As(err, &d) {
		line, _ := d.Position()
		return fmt.Sprintf("line %d is no TOML that banger reads", line)
	}
	return "it is no TOML that banger reads"
}
