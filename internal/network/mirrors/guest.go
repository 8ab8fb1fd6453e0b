package mirrors

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"

	"banger/internal/agent/hostconfig"
)

// made begins the files that are made for a guest.
const made = "made by banger from the host's configuration; a change of yours is kept"

// Guest returns what goes into a guest whose image is of that distribution; the zero
// value is one that is not known yet, and the guest then compares. The package's
// comment has the keys. It holds no user info, password or token. Certificates are
// HostCAs', which the caller adds. notes are lines for the user.
func (f *Found) Guest(image Distribution) (c hostconfig.Config, notes []string) {
	g := guest{}
	for _, s := range f.Settings {
		if s.Withheld == "" && !s.Default {
			g.settings = append(g.settings, s)
		}
	}
	c.Apt = g.aptSources(f.Distribution)
	if c.Apt != nil {
		c.Apt.Conf = g.aptConf(true)
	}
	if c.Apt != nil && image != (Distribution{}) && image != f.Distribution {
		c.Apt = nil
		notes = append(notes, fmt.Sprintf("apt's sources stay the image's own: the host is %s %s, the image %s %s",
			f.Distribution.ID, f.Distribution.Codename, image.ID, image.Codename))
	}
	add := func(text string, paths ...string) {
		for _, p := range paths {
			if text != "" {
				c.Files = append(c.Files, hostconfig.File{Path: p, Mode: 0o644, Content: text})
			}
		}
	}
	add(g.aptConf(false), "/etc/apt/apt.conf.d/80banger")
	// Debian's npm reads the first, NodeSource's the second, that of nodejs.org the last.
	add(g.lines("npm", "; ", "%s=%s\n", isNPM), "/etc/npmrc", "/usr/etc/npmrc", "/usr/local/etc/npmrc")
	add(g.lines("yarn", "# ", "\"%s\" \"%s\"\n", isNPM), "/root/.yarnrc")
	add(g.yarn(), "/root/.yarnrc.yml")
	add(g.lines("pnpm", "; ", "%s=%s\n", isNPM), "/root/.config/pnpm/rc")
	add(g.pip(), "/etc/pip.conf")
	add(g.uv(), "/etc/uv/uv.toml")
	add(g.cargo(), "/root/.cargo/config.toml")
	add(g.maven(), "/root/.m2/settings.xml")
	c.Env = g.golang()
	return c, notes
}

// guest makes the guest's files of the settings that go into it.
type guest struct{ settings []Setting }

// of are the settings of a client, of some keys or of all.
func (g guest) of(client string, keys ...string) (out []Setting) {
	for _, s := range g.settings {
		if s.Client == client && (len(keys) == 0 || slices.Contains(keys, s.Key)) {
			out = append(out, s)
		}
	}
	return out
}

// text is the URL or the value.
func (s Setting) text() string {
	if s.URL != "" {
		return s.URL
	}
	return s.Value
}

func urls(settings []Setting) (out []string) {
	for _, s := range settings {
		if !slices.Contains(out, s.URL) {
			out = append(out, s.URL)
		}
	}
	return out
}

// lines is a file of a line a key.
func (g guest) lines(client, comment, format string, which func(string) bool) string {
	var b strings.Builder
	for _, s := range g.of(client) {
		if which(s.Key) {
			fmt.Fprintf(&b, format, s.Key, s.text())
		}
	}
	return headed(comment+made+"\n", b.String())
}

func headed(head, text string) string {
	if text == "" {
		return ""
	}
	return head + text
}

func isNPM(key string) bool {
	_, ok := npmKeys[key]
	return ok || scope.MatchString(key)
}

func (g guest) aptSources(host Distribution) *hostconfig.Apt {
	a := &hostconfig.Apt{ID: host.ID, Codename: host.Codename, URIs: map[string][]string{}}
	for _, s := range g.of("apt", "URIs") {
		if !strings.HasPrefix(s.URL, "http") { // another transport, which the image may lack
			continue
		}
		for _, suite := range s.suites {
			if !slices.Contains(a.URIs[suite], s.URL) {
				a.URIs[suite] = append(a.URIs[suite], s.URL)
			}
		}
	}
	if len(a.URIs) == 0 || host.ID == "" || host.Codename == "" {
		return nil
	}
	return a
}

// aptConf is the file of proxies or, for the archives, of what they need.
func (g guest) aptConf(archives bool) string {
	var b strings.Builder
	for _, s := range g.of("apt") {
		if s.Key == "URIs" || strings.HasPrefix(s.Key, "Acquire::Check-") != archives {
			continue
		}
		fmt.Fprintf(&b, "%s %q;\n", s.Key, s.text())
	}
	return headed("// "+made+"\n", b.String())
}

func (g guest) yarn() string {
	var b strings.Builder
	scopes := false
	for _, s := range g.of("yarn") {
		switch {
		case yarnScope.MatchString(s.Key):
			if !scopes {
				b.WriteString("npmScopes:\n")
			}
			scopes = true
			name := strings.TrimSuffix(strings.TrimPrefix(s.Key, "npmScopes."), ".npmRegistryServer")
			fmt.Fprintf(&b, "  %q:\n    npmRegistryServer: %q\n", name, s.URL)
		}
	}
	for _, s := range g.of("yarn", sortedKeys(yarnKeys)...) {
		fmt.Fprintf(&b, "%s: %q\n", s.Key, s.URL)
	}
	// Yarn refuses plain HTTP to others; a host whose registry has it says so too.
	var plain []string
	for _, s := range g.of("yarn") {
		if strings.HasSuffix(s.Key, "npmRegistryServer") && strings.HasPrefix(s.URL, "http:") && !slices.Contains(plain, s.Host) {
			plain = append(plain, s.Host)
		}
	}
	if len(plain) > 0 {
		fmt.Fprintf(&b, "unsafeHttpWhitelist:\n  - \"%s\"\n", strings.Join(plain, "\"\n  - \""))
	}
	return headed("# "+made+"\n", b.String())
}

// trusted are those of a list of hosts without checks that are hosts of an index.
func trusted(lists, indexes []Setting) (out []string) {
	for _, l := range lists {
		for _, h := range strings.FieldsFunc(l.Value, func(c rune) bool { return strings.ContainsRune(" \t\n,", c) }) {
			ok := slices.ContainsFunc(indexes, func(s Setting) bool {
				return strings.EqualFold(h, s.Host) || strings.EqualFold(h, fmt.Sprintf("%s:%d", s.Host, s.Port))
			})
			if ok && !slices.Contains(out, h) {
				out = append(out, h)
			}
		}
	}
	return out
}

func (g guest) pip() string {
	var b strings.Builder
	line := func(key string, values []string) {
		switch len(values) {
		case 0:
		case 1:
			fmt.Fprintf(&b, "%s = %s\n", key, values[0])
		default:
			fmt.Fprintf(&b, "%s =\n    %s\n", key, strings.Join(values, "\n    "))
		}
	}
	index := g.of("pip", "index-url", "extra-index-url", "find-links")
	for _, key := range []string{"index-url", "proxy"} {
		if u := urls(g.of("pip", key)); len(u) > 0 {
			line(key, u[len(u)-1:]) // a section of a command may have another; the last one counts
		}
	}
	line("extra-index-url", urls(g.of("pip", "extra-index-url")))
	line("find-links", urls(g.of("pip", "find-links")))
	line("trusted-host", trusted(g.of("pip", "trusted-host"), index))
	return headed("# "+made+"\n[global]\n", b.String())
}

func (g guest) uv() string {
	var b strings.Builder
	list := func(key string, values []string) {
		if len(values) > 0 {
			fmt.Fprintf(&b, "%s = [\"%s\"]\n", key, strings.Join(values, `", "`))
		}
	}
	index := g.of("uv", "default-index", "index", "find-links")
	list("find-links", urls(g.of("uv", "find-links")))
	list("allow-insecure-host", trusted(g.of("uv", "allow-insecure-host"), index))
	for _, s := range g.of("uv", "python-install-mirror", "pypy-install-mirror") {
		fmt.Fprintf(&b, "%s = %q\n", s.Key, s.URL)
	}
	for _, s := range g.of("uv", "index") {
		fmt.Fprintf(&b, "[[index]]\nurl = %q\n", s.URL)
	}
	for _, s := range g.of("uv", "default-index") {
		fmt.Fprintf(&b, "[[index]]\nurl = %q\ndefault = true\n", s.URL)
	}
	return headed("# "+made+"\n", b.String())
}

// golang are Go's variables. They are variables and no file, because the guest's Go may
// be installed later and every user needs them; so they go before go env -w.
func (g guest) golang() (out []hostconfig.Variable) {
	var proxy strings.Builder
	sep := ""
	for _, s := range g.of("go", "GOPROXY") {
		proxy.WriteString(sep + s.text())
		if sep = s.of; sep == "" {
			sep = ","
		}
	}
	if proxy.Len() > 0 {
		out = append(out, hostconfig.Variable{Name: "GOPROXY", Value: proxy.String()})
	}
	for _, s := range g.of("go", "GOSUMDB") {
		v := s.Value
		if s.name != "" {
			v = strings.TrimSpace(s.name + " " + s.of)
		}
		out = append(out, hostconfig.Variable{Name: "GOSUMDB", Value: v})
	}
	for _, s := range g.of("go", "GOPRIVATE", "GONOPROXY", "GONOSUMDB") {
		out = append(out, hostconfig.Variable{Name: s.Key, Value: s.Value})
	}
	return out
}

func (g guest) cargo() string {
	var b strings.Builder
	given := map[string]bool{}
	for _, s := range g.of("cargo") {
		if s.URL != "" && s.name != "" {
			given[s.name] = true
		}
	}
	// A replacement goes in only if the source at its end does.
	next := map[string]string{}
	for _, s := range g.of("cargo") {
		if s.name != "" && s.URL == "" {
			next[s.name] = s.Value
		}
	}
	whole := func(name string) bool {
		for range len(next) + 1 {
			if next[name] == "" {
				return given[name]
			}
			name = next[name]
		}
		return false
	}
	tables := map[string]string{}
	for _, s := range g.of("cargo") {
		switch {
		case s.Key == "http.proxy":
			tables["http"] += fmt.Sprintf("proxy = %q\n", s.URL)
		case s.Key == "registry.default" && given[s.Value]:
			tables["registry"] += fmt.Sprintf("default = %q\n", s.Value)
		case s.name != "" && s.URL == "" && whole(s.name):
			tables[table("source", s.name)] += fmt.Sprintf("replace-with = %q\n", s.Value)
		case s.name != "" && s.URL != "" && strings.HasPrefix(s.Key, "source."):
			tables[table("source", s.name)] += fmt.Sprintf("%s = %q\n", s.of, s.URL)
		case s.name != "" && s.URL != "":
			tables[table("registries", s.name)] += fmt.Sprintf("index = %q\n", s.URL)
		}
	}
	for _, t := range sortedKeys(tables) {
		fmt.Fprintf(&b, "[%s]\n%s", t, tables[t])
	}
	return headed("# "+made+"\n", b.String())
}

func table(of, name string) string { return fmt.Sprintf("%s.%q", of, name) }

// mavenRepo, mavenMirror, mavenProxy and mavenOut are settings.xml as it is written.
type (
	mavenMirror struct {
		ID       string `xml:"id"`
		MirrorOf string `xml:"mirrorOf"`
		URL      string `xml:"url"`
	}
	mavenProxy struct {
		ID       string `xml:"id"`
		Active   bool   `xml:"active"`
		Protocol string `xml:"protocol"`
		Host     string `xml:"host"`
		Port     uint16 `xml:"port"`
		Not      string `xml:"nonProxyHosts,omitempty"`
	}
	mavenProfile struct {
		ID      string            `xml:"id"`
		Repos   []mavenRepository `xml:"repositories>repository,omitempty"`
		Plugins []mavenRepository `xml:"pluginRepositories>pluginRepository,omitempty"`
	}
	mavenOut struct {
		XMLName  xml.Name       `xml:"settings"`
		Mirrors  []mavenMirror  `xml:"mirrors>mirror,omitempty"`
		Proxies  []mavenProxy   `xml:"proxies>proxy,omitempty"`
		Profiles []mavenProfile `xml:"profiles>profile,omitempty"`
		Active   []string       `xml:"activeProfiles>activeProfile,omitempty"`
	}
)

func (g guest) maven() string {
	var out mavenOut
	profile := mavenProfile{ID: "banger"}
	add := func(to []mavenRepository, s Setting) []mavenRepository { // in one profile an id is one repository
		if slices.ContainsFunc(to, func(r mavenRepository) bool { return r.ID == s.name }) {
			return to
		}
		return append(to, mavenRepository{s.name, s.URL})
	}
	for i, s := range g.of("maven") {
		switch s.Key {
		case "mirror":
			out.Mirrors = append(out.Mirrors, mavenMirror{s.name, s.of, s.URL})
		case "repository":
			profile.Repos = add(profile.Repos, s)
		case "pluginRepository":
			profile.Plugins = add(profile.Plugins, s)
		case "proxy":
			protocol, _, _ := strings.Cut(s.URL, ":")
			out.Proxies = append(out.Proxies, mavenProxy{fmt.Sprintf("banger-%d", i), true, protocol, s.Host, s.Port, s.of})
		}
	}
	if len(profile.Repos)+len(profile.Plugins) > 0 {
		out.Profiles, out.Active = []mavenProfile{profile}, []string{profile.ID}
	}
	if len(out.Mirrors)+len(out.Proxies)+len(out.Profiles) == 0 {
		return ""
	}
	text, err := xml.MarshalIndent(out, "", "  ")
	if err != nil {
		return "" // of plain strings there is no error
	}
	return "<!-- " + made + " -->\n" + string(text) + "\n"
}
