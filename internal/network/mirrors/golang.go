package mirrors

import (
	"path"
	"strings"
)

// goKeys are the keys of Go's whose values are patterns.
var goKeys = map[string]key{
	"GOPRIVATE": {plain: patterns}, "GONOPROXY": {plain: patterns}, "GONOSUMDB": {plain: patterns},
}

// golang reads Go's settings: the environment goes before the user's go/env, and that
// before the installation's go.env ("go help environment").
func (r *reader) golang() (out []Setting) {
	roots := []string{"/usr/local/go", "/usr/lib/go"}
	for _, p := range r.programs("go") {
		roots = append([]string{path.Dir(path.Dir(p))}, roots...)
	}
	for _, root := range roots {
		file := path.Join(root, "go.env")
		if text, err := r.content(file); err == nil {
			out = r.goSettings(file, parseGoEnv(text))
			break
		}
	}
	for i := range out {
		out[i].Default = true
	}
	if file := r.env["GOENV"]; file != "off" {
		file = r.named("GOENV", r.userConfig("go/env"))
		if text, ok := r.read(file); ok {
			out = over(out, r.goSettings(file, parseGoEnv(text)))
		}
	}
	for _, name := range []string{"GOPROXY", "GOSUMDB", "GOPRIVATE", "GONOPROXY", "GONOSUMDB"} {
		if v := r.env[name]; v != "" {
			out = over(out, r.goSettings("$"+name, []pair{{name, v}}))
		}
	}
	return out
}

// parseGoEnv reads go.env: NAME=VALUE a line, comments of #.
func parseGoEnv(text string) (out []pair) {
	for line := range strings.Lines(text) {
		k, v, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		if ok && k != "" && k[0] != '#' {
			out = append(out, pair{k, v})
		}
	}
	return out
}

func (r *reader) goSettings(origin string, pairs []pair) (out []Setting) {
	for _, p := range pairs {
		switch p.key {
		case "GOPROXY":
			out = over(out, r.goProxy(origin, p.value))
		case "GOSUMDB":
			out = over(out, r.goSumDB(origin, p.value))
		default:
			out = over(out, r.settings("go", origin, []pair{p}, goKeys))
		}
	}
	return out
}

// goProxy makes settings of a list of proxies. The separator before a proxy ("," or
// "|") and the words "direct" and "off" are kept as values; a list of which no proxy goes
// into the guest doesn't go in as these words.
func (r *reader) goProxy(origin, list string) (out []Setting) {
	lost, goes := false, false
	for list != "" {
		i := strings.IndexAny(list, ",|")
		item, sep := list, ""
		if i >= 0 {
			item, sep, list = list[:i], list[i:i+1], list[i+1:]
		} else {
			list = ""
		}
		s := Setting{Client: "go", Key: "GOPROXY", Value: strings.TrimSpace(item), Origin: origin}
		if s.Value == "" {
			continue
		}
		if s.Value != "direct" && s.Value != "off" {
			var ok bool
			s, ok = r.setting("go", "GOPROXY", item, "https", origin)
			lost = lost || !ok || s.Withheld != ""
			goes = goes || ok && s.Withheld == ""
			if !ok {
				continue
			}
		}
		s.of = sep
		out = append(out, s)
	}
	for i := range out {
		if lost && !goes && out[i].Withheld == "" {
			out[i].Withheld = "no proxy of its list goes into the guest"
		}
	}
	return out
}

// goSumDB reads "off", "NAME", "NAME+KEY" or "NAME+KEY URL". The key is public.
func (r *reader) goSumDB(origin, value string) []Setting {
	f := strings.Fields(value)
	switch {
	case len(f) == 0 || len(f) > 2:
		return nil
	case len(f) == 1 && f[0] == "off":
		return []Setting{{Client: "go", Key: "GOSUMDB", Value: "off", Origin: origin}}
	}
	where, _, _ := strings.Cut(f[0], "+")
	if len(f) == 2 {
		where = f[1]
	}
	s, ok := r.setting("go", "GOSUMDB", where, "https", origin)
	if !ok || !sumKey.MatchString(f[0]) {
		return nil
	}
	s.name = f[0]
	if len(f) == 2 {
		s.of = s.URL
	}
	return []Setting{s}
}
