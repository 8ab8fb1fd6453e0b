package mirrors

import (
	"encoding/xml"
	"path"
	"regexp"
	"strings"
)

// mavenFile is what of Maven's settings.xml is read.
type mavenFile struct {
	Mirrors []struct {
		ID       string `xml:"id"`
		MirrorOf string `xml:"mirrorOf"`
		URL      string `xml:"url"`
		Blocked  string `xml:"blocked"`
	} `xml:"mirrors>mirror"`
	Proxies []struct {
		ID       string `xml:"id"`
		Active   string `xml:"active"`
		Protocol string `xml:"protocol"`
		Host     string `xml:"host"`
		Port     string `xml:"port"`
		Not      string `xml:"nonProxyHosts"`
	} `xml:"proxies>proxy"`
	Profiles []struct {
		ID         string            `xml:"id"`
		Activation string            `xml:"activation>activeByDefault"`
		Repos      []mavenRepository `xml:"repositories>repository"`
		Plugins    []mavenRepository `xml:"pluginRepositories>pluginRepository"`
	} `xml:"profiles>profile"`
	Active []string `xml:"activeProfiles>activeProfile"`
}

type mavenRepository struct {
	ID  string `xml:"id"`
	URL string `xml:"url"`
}

var (
	mirrorOf = regexp.MustCompile(`^[A-Za-z0-9._*!,: -]{1,500}$`)
	notHosts = regexp.MustCompile(`^[A-Za-z0-9.*|_-]{1,1000}$`)
)

// maven reads settings.xml of the installation and of the user.
func (r *reader) maven() (out []Setting) {
	files := []string{"/etc/maven/settings.xml"}
	if home := r.named("MAVEN_HOME", r.named("M2_HOME", "")); home != "" {
		files = []string{path.Join(home, "conf/settings.xml")}
	}
	// Both count, the user's first; of what has the same id, the user's only
	// (https://maven.apache.org/settings.html).
	files = append([]string{r.inHome(".m2/settings.xml")}, files...)
	parsed := map[string]mavenFile{}
	var active []string
	for _, file := range files {
		text, ok := r.read(file)
		if !ok {
			continue
		}
		f, err := parseMaven(text)
		if err != nil {
			r.note("%s is not read: it is no XML that banger reads", shown(file))
			continue
		}
		parsed[file] = f
		active = append(active, f.Active...)
	}
	type id struct{ key, profile, name string }
	seen := map[id]string{}
	for _, file := range files {
		for _, s := range r.mavenSettings(file, parsed[file], active) {
			i := id{s.Key, s.profile, s.name}
			if first, ok := seen[i]; ok && first != file {
				continue
			}
			seen[i] = file
			out = append(out, s)
		}
	}
	return out
}

func parseMaven(text string) (f mavenFile, err error) {
	err = xml.Unmarshal([]byte(text), &f)
	return f, err
}

// mavenSettings are those of one file. actives are the profiles that
// some file says are active.
func (r *reader) mavenSettings(origin string, f mavenFile, actives []string) (out []Setting) {
	add := func(profile, key, id, of, url string) {
		id, of = strings.TrimSpace(id), strings.TrimSpace(of)
		if of != "" && !mirrorOf.MatchString(of) || !named.MatchString(id) {
			r.note("maven's %s in %s is left out: its id or what it mirrors has characters that banger does not hand on", key, shown(origin))
		} else if s, ok := r.setting("maven", key, url, "", origin); ok {
			s.name, s.of, s.profile = id, of, strings.TrimSpace(profile)
			out = append(out, s)
		}
	}
	for _, m := range f.Mirrors {
		if isTrue(m.Blocked) { // as Maven's own of plain HTTP
			continue
		}
		add("", "mirror", m.ID, m.MirrorOf, m.URL)
	}
	for _, p := range f.Profiles {
		active := isTrue(p.Activation)
		for _, a := range actives {
			active = active || strings.TrimSpace(a) == strings.TrimSpace(p.ID)
		}
		if !active {
			continue
		}
		for _, x := range p.Repos {
			add(p.ID, "repository", x.ID, "", x.URL)
		}
		for _, x := range p.Plugins {
			add(p.ID, "pluginRepository", x.ID, "", x.URL)
		}
	}
	for _, p := range f.Proxies {
		if active := strings.TrimSpace(p.Active); active != "" && !isTrue(active) {
			continue
		}
		protocol, port := strings.TrimSpace(p.Protocol), strings.TrimSpace(p.Port)
		if protocol == "" {
			protocol = "http"
		}
		if port == "" {
			port = "8080" // Maven's default
		}
		not := strings.TrimSpace(p.Not)
		if !notHosts.MatchString(not) {
			not = ""
		}
		if s, ok := r.setting("maven", "proxy", protocol+"://"+strings.TrimSpace(p.Host)+":"+port, "", origin); ok {
			s.name, s.of = strings.TrimSpace(p.ID), not
			out = append(out, s)
		}
	}
	return out
}

func isTrue(text string) bool { return strings.EqualFold(strings.TrimSpace(text), "true") }

// mirrorsCentral reports whether a mirror of these repositories stands for Maven's own.
func mirrorsCentral(of string) bool {
	central := false
	for item := range strings.SplitSeq(of, ",") {
		switch strings.TrimSpace(item) {
		case "*", "central", "external:*":
			central = true
		case "!central":
			return false
		}
	}
	return central
}

// gradle notes what only Gradle itself can read.
func (r *reader) gradle() {
	for _, name := range []string{".gradle/init.gradle", ".gradle/init.gradle.kts", ".gradle/init.d"} {
		if r.home == "" {
			return
		}
		if name == ".gradle/init.d" && len(r.list(r.inHome(name))) == 0 {
			continue
		}
		if name != ".gradle/init.d" {
			if _, err := r.content(r.inHome(name)); err != nil {
				continue
			}
		}
		r.note("%q is not read: it is a program of Gradle's; --allow NAME:443 allows a host that it names", r.inHome(name))
	}
}
