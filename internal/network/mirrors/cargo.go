package mirrors

import (
	"path"
	"regexp"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// cargoFile is what of cargo's config.toml is read.
type cargoFile struct {
	Source map[string]struct {
		Registry    string `toml:"registry"`
		Git         string `toml:"git"`
		ReplaceWith string `toml:"replace-with"`
	} `toml:"source"`
	Registries map[string]struct {
		Index string `toml:"index"`
	} `toml:"registries"`
	Registry struct {
		Default string `toml:"default"`
		Index   string `toml:"index"`
	} `toml:"registry"`
	HTTP struct {
		Proxy string `toml:"proxy"`
	} `toml:"http"`
}

// sumKey is a name of a checksum database, with its public key.
var sumKey = regexp.MustCompile(`^[A-Za-z0-9.:/_-]+(\+[A-Za-z0-9+/=]+)*$`)

// crates is the name of cargo's default source.
const crates = "crates-io"

// cargo reads the file in cargo's home and cargo's variables. The files in the current
// directory and above it, which cargo reads too, are a project's.
func (r *reader) cargo() (out []Setting) {
	home := r.named("CARGO_HOME", r.inHome(".cargo"))
	if home == "" {
		return nil
	}
	for _, name := range []string{"config", "config.toml"} { // the first goes before the other
		file := path.Join(home, name)
		text, ok := r.read(file)
		if !ok {
			continue
		}
		f, err := parseCargo(text)
		if err != nil {
			r.note("%s is not read: %s", shown(file), wrongTOML(err))
			continue
		}
		out = r.cargoSettings(file, f)
		break
	}
	for _, name := range sortedKeys(r.env) {
		v := r.env[name]
		reg, ok := strings.CutPrefix(name, "CARGO_REGISTRIES_")
		reg, index := strings.CutSuffix(reg, "_INDEX")
		switch {
		case v == "":
		case ok && index && named.MatchString(reg):
			// A dash in a name is an underscore in the variable.
			reg = strings.ToLower(strings.ReplaceAll(reg, "_", "-"))
			out = over(out, r.cargoIndex("$"+name, "registries."+reg, reg, v))
		case name == "CARGO_HTTP_PROXY":
			out = over(out, r.settings("cargo", "$"+name, []pair{{"http.proxy", v}}, cargoKeys))
		case name == "CARGO_REGISTRY_DEFAULT":
			out = over(out, r.settings("cargo", "$"+name, []pair{{"registry.default", v}}, cargoKeys))
		}
	}
	return out
}

var cargoKeys = map[string]key{"http.proxy": {scheme: "http"}, "registry.default": {plain: named}}

func parseCargo(text string) (f cargoFile, err error) {
	err = toml.Unmarshal([]byte(text), &f)
	return f, err
}

func (r *reader) cargoSettings(origin string, f cargoFile) (out []Setting) {
	for _, name := range sortedKeys(f.Source) {
		s := f.Source[name]
		if !named.MatchString(name) {
			r.note("a source in %s is left out: its name has characters that banger does not hand on", shown(origin))
			continue
		}
		if s.ReplaceWith != "" && named.MatchString(s.ReplaceWith) {
			out = append(out, Setting{Client: "cargo", Key: "source." + name, Value: s.ReplaceWith, Origin: origin, name: name})
		}
		for _, p := range []pair{{"registry", s.Registry}, {"git", s.Git}} {
			if p.value == "" || p.value == crates {
				continue
			}
			for _, x := range r.cargoIndex(origin, "source."+name, name, p.value) {
				x.of = p.key
				out = append(out, x)
			}
		}
	}
	for _, name := range sortedKeys(f.Registries) {
		if named.MatchString(name) {
			out = append(out, r.cargoIndex(origin, "registries."+name, name, f.Registries[name].Index)...)
		}
	}
	return append(out, r.settings("cargo", origin, []pair{
		{"http.proxy", f.HTTP.Proxy}, {"registry.default", f.Registry.Default}}, cargoKeys)...)
}

func (r *reader) cargoIndex(origin, key, name, url string) []Setting {
	s, ok := r.setting("cargo", key, url, "", origin)
	if !ok {
		return nil
	}
	s.name = name
	return []Setting{s}
}
