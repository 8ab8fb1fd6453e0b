package mirrors

import (
	"path"
	"regexp"
	"strings"

	"banger/internal/agent/hostconfig"
)

var (
	aptProxy = regexp.MustCompile(`^acquire::(https?|ftp)::proxy(::[a-z0-9.:-]+)?$`)
	aptCheck = map[string]string{"acquire::check-valid-until": "Acquire::Check-Valid-Until", "acquire::check-date": "Acquire::Check-Date"}
	// aptPart are the names that apt itself reads in apt.conf.d.
	aptPart = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*$`)
)

// apt reads apt's configuration and sources.
func (r *reader) apt() []Setting {
	var files []string
	if file := r.named("APT_CONFIG", ""); file != "" {
		files = append(files, file)
	}
	for _, n := range r.list("/etc/apt/apt.conf.d") {
		if ext := path.Ext(n); aptPart.MatchString(n) && (ext == "" || ext == ".conf") {
			files = append(files, "/etc/apt/apt.conf.d/"+n)
		}
	}
	var out []Setting
	for _, file := range append(files, "/etc/apt/apt.conf") {
		text, ok := r.read(file)
		if !ok {
			continue
		}
		pairs, err := parseAptConf(text)
		if err != nil {
			r.note("%s is read only in part: %v", shown(file), err)
		}
		for _, p := range pairs {
			out = over(out, r.aptOption(file, p))
		}
	}
	sources := []string{"/etc/apt/sources.list"}
	for _, n := range r.list("/etc/apt/sources.list.d") {
		if ext := path.Ext(n); aptPart.MatchString(n) && (ext == ".list" || ext == ".sources") {
			sources = append(sources, "/etc/apt/sources.list.d/"+n)
		}
	}
	for _, file := range sources {
		if text, ok := r.read(file); ok {
			out = append(out, r.aptSources(file, text)...)
		}
	}
	return out
}

func (r *reader) aptOption(origin string, p pair) []Setting {
	switch {
	case p.value == "":
	case aptCheck[p.key] != "":
		return r.settings("apt", origin, []pair{{aptCheck[p.key], p.value}}, map[string]key{aptCheck[p.key]: {plain: yesNo}})
	case strings.HasSuffix(p.key, "::proxy-auto-detect") || strings.HasSuffix(p.key, "::proxyautodetect"):
		r.note("apt's Proxy-Auto-Detect in %s is left out: it is a command", shown(origin))
	case aptProxy.MatchString(p.key):
		parts := strings.SplitN(p.key, "::", 4)
		name := "Acquire::" + parts[1] + "::Proxy"
		if len(parts) == 4 {
			name += "::" + parts[3]
		}
		if strings.EqualFold(p.value, "direct") {
			return []Setting{{Client: "apt", Key: name, Value: "DIRECT", Origin: origin}}
		}
		return r.settings("apt", origin, []pair{{name, p.value}}, map[string]key{name: {scheme: "http"}})
	}
	return nil
}

// suite are the names that a suite may have in a guest's file.
var suite = regexp.MustCompile(`^[A-Za-z0-9._/+-]{1,100}$`)

// aptSources makes settings of a file of sources. Those of the distribution itself have
// their suites.
func (r *reader) aptSources(origin, text string) (out []Setting) {
	for _, src := range hostconfig.ParseSources(hostconfig.IsDeb822(origin), text) {
		if src.Disabled {
			continue
		}
		var suites []string
		if src.Own(r.found.Distribution.ID, origin) {
			for _, s := range src.Suites {
				if suite.MatchString(s) {
					suites = append(suites, strings.TrimSuffix(s, "/"))
				}
			}
		}
		for _, uri := range src.URIs {
			if list, ok := strings.CutPrefix(uri, "mirror+file:"); ok {
				out = append(out, r.aptMirrors(path.Clean("/"+strings.TrimLeft(list, "/")), suites)...)
				continue
			}
			if s, ok := r.setting("apt", "URIs", uri, "", origin); ok {
				s.suites = suites
				out = append(out, s)
			}
		}
	}
	return out
}

// aptMirrors reads a list of mirrors (apt-transport-mirror(1)): a URI a line, and what
// is said of it behind a tab.
func (r *reader) aptMirrors(file string, suites []string) (out []Setting) {
	text, ok := r.read(file)
	if !ok {
		return nil
	}
	for line := range strings.Lines(text) {
		uri, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if uri == "" || uri[0] == '#' {
			continue
		}
		if s, ok := r.setting("apt", "URIs", uri, "", file); ok {
			s.suites = suites
			out = append(out, s)
		}
	}
	return out
}
