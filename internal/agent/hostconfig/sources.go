package hostconfig

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// Source is an entry of apt's sources (sources.list(5)).
type Source struct {
	URIs, Suites, Components []string
	SignedBy                 string // of deb822 the first line
	Disabled                 bool

	first, last int // lines of the text that hold the URIs
}

// IsDeb822 reports whether a file of that name has stanzas, and not a line a source.
func IsDeb822(file string) bool { return path.Ext(file) == ".sources" }

// ParseSources reads a file of apt's sources. What it doesn't understand it leaves out.
func ParseSources(deb822 bool, text string) []Source {
	lines := strings.Split(text, "\n")
	if deb822 {
		return parseStanzas(lines)
	}
	var out []Source
	for i, line := range lines {
		f, options := oneLine(line)
		if len(f) < 3 || f[0] != "deb" && f[0] != "deb-src" {
			continue
		}
		s := Source{URIs: f[1:2], Suites: f[2:3], Components: f[3:], first: i, last: i}
		for _, o := range options {
			if v, ok := strings.CutPrefix(strings.ToLower(o), "signed-by="); ok {
				s.SignedBy = v
			}
		}
		out = append(out, s)
	}
	return out
}

// oneLine splits a line into its words and its options, which are in brackets.
func oneLine(line string) (fields, options []string) {
	if i := strings.IndexByte(line, '#'); i >= 0 {
		line = line[:i]
	}
	head, rest, found := strings.Cut(line, "[")
	if !found || len(strings.Fields(head)) != 1 {
		return strings.Fields(line), nil
	}
	opts, tail, found := strings.Cut(rest, "]")
	if !found {
		return nil, nil
	}
	return append(strings.Fields(head), strings.Fields(tail)...), strings.Fields(opts)
}

func parseStanzas(lines []string) (out []Source) {
	var s Source
	field := ""
	end := func() {
		if len(s.URIs) > 0 && len(s.Suites) > 0 {
			out = append(out, s)
		}
		s, field = Source{}, ""
	}
	for i, line := range lines {
		line = strings.TrimSuffix(line, "\r")
		if strings.HasPrefix(line, "#") {
			continue
		}
		if strings.TrimSpace(line) == "" {
			end()
			continue
		}
		value := line
		if line[0] != ' ' && line[0] != '\t' {
			var ok bool
			if field, value, ok = strings.Cut(line, ":"); !ok {
				field = ""
				continue
			}
			field = strings.ToLower(strings.TrimSpace(field))
			if field == "uris" {
				s.first, s.URIs = i, nil
			}
		}
		words := strings.Fields(value)
		switch field {
		case "uris":
			s.URIs, s.last = append(s.URIs, words...), i
		case "suites":
			s.Suites = append(s.Suites, words...)
		case "components":
			s.Components = append(s.Components, words...)
		case "signed-by":
			if s.SignedBy == "" {
				s.SignedBy = strings.TrimSpace(value)
			}
		case "enabled":
			s.Disabled = slices.Contains([]string{"no", "false", "off", "0", "without", "disable"}, strings.ToLower(strings.TrimSpace(value)))
		}
	}
	end()
	return out
}

// Own reports whether a source is one of the distribution's own archives: its keyring
// signs it, or it stands in the distribution's own file without a keyring. A third
// party's archive may have the same suite.
func (s Source) Own(id, file string) bool {
	if id == "" || !slices.Contains(s.Components, "main") {
		return false
	}
	if s.SignedBy != "" {
		return strings.HasPrefix(path.Base(s.SignedBy), id+"-archive-keyring.")
	}
	base := path.Base(file)
	return base == "sources.list" || base == id+".sources"
}

// sourceMark begins the line before URIs that Apply wrote: what it wrote, and what was
// there.
const (
	sourceMark = "# banger: "
	sourceWas  = " instead of "
)

// sources puts the host's archives into the image's sources; nil takes them out.
func (a *applier) sources(apt *Apt) {
	files := []string{"/etc/apt/sources.list"}
	for _, n := range a.tree.names("/etc/apt/sources.list.d") {
		if ext := path.Ext(n); ext == ".list" || ext == ".sources" {
			files = append(files, "/etc/apt/sources.list.d/"+n)
		}
	}
	slices.Sort(files)
	for _, f := range files {
		if _, _, err := a.tree.read(f); err == nil {
			a.edit(f, func(text string) string { return SetSources(text, f, apt) })
		}
	}
}

// sameRelease reports whether the image's distribution and its release are the host's.
func (a *applier) sameRelease(apt *Apt) bool {
	for _, p := range []string{"/etc/os-release", "/usr/lib/os-release"} { // the first is often a link to the other
		text, _, err := a.tree.read(p)
		if err != nil {
			continue
		}
		id, codename := ParseRelease(text)
		return id != "" && codename != "" && id == apt.ID && codename == apt.Codename
	}
	return false
}

// ParseRelease reads ID and VERSION_CODENAME of os-release(5); "" is what it lacks, or
// has otherwise than with letters, digits, ".", "_" and "-".
func ParseRelease(text string) (id, codename string) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		if len(value) > maxName || !release.MatchString(value) {
			continue
		}
		switch key {
		case "ID":
			id = value
		case "VERSION_CODENAME":
			codename = value
		}
	}
	return id, codename
}

var release = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// SetSources returns the text of a file of apt's sources with the URIs of the
// distribution's own archives replaced, each with a comment that says what was there;
// nil, and what apt doesn't have, comes back as it was. Lines that the user changed
// since stay.
func SetSources(text, file string, apt *Apt) string {
	deb822 := IsDeb822(file)
	text = restoreSources(text, deb822)
	if apt == nil {
		return text
	}
	lines := strings.Split(text, "\n")
	sources := ParseSources(deb822, text)
	for i := len(sources) - 1; i >= 0; i-- { // from the end, as lines are added
		s := sources[i]
		uris := apt.uris(s)
		if s.Disabled || !s.Own(apt.ID, file) || len(uris) == 0 {
			continue
		}
		if !deb822 {
			uris = uris[:1]
		}
		is, was := strings.Join(uris, " "), strings.Join(s.URIs, " ")
		commented := slices.ContainsFunc(lines[s.first:s.last+1], func(l string) bool { return strings.HasPrefix(l, "#") })
		if is == was || commented || strings.ContainsAny(is+was, "\r\n#") {
			continue
		}
		written := "URIs: " + is
		if !deb822 {
			written = strings.Replace(lines[s.first], was, is, 1)
		}
		lines = slices.Replace(lines, s.first, s.last+1, sourceMark+is+sourceWas+was, written)
	}
	return strings.Join(lines, "\n")
}

// restoreSources takes back what SetSources wrote.
func restoreSources(text string, deb822 bool) string {
	if !strings.Contains(text, sourceMark) {
		return text
	}
	lines := strings.Split(text, "\n")
	var out []string
	for i := 0; i < len(lines); i++ {
		rest, ok := strings.CutPrefix(lines[i], sourceMark)
		is, was, both := strings.Cut(rest, sourceWas)
		if !ok || !both || i+1 == len(lines) {
			out = append(out, lines[i])
			continue
		}
		next := lines[i+1]
		switch {
		case deb822 && next == "URIs: "+is:
			next = "URIs: " + was
		case !deb822:
			next = strings.Replace(next, is, was, 1)
		}
		out = append(out, next)
		i++
	}
	return strings.Join(out, "\n")
}

// uris are the host's for a source; nil if the host has none for one of its suites. A
// suite beside the release (bookworm-backports) is where the release is; the security
// archive's is not.
func (apt *Apt) uris(s Source) (out []string) {
	for i, suite := range s.Suites {
		suite = strings.TrimSuffix(suite, "/")
		uris := apt.URIs[suite]
		if uris == nil && strings.HasPrefix(suite, apt.Codename+"-") && !strings.Contains(suite, "security") {
			uris = apt.URIs[apt.Codename]
		}
		if uris == nil || i > 0 && !slices.Equal(uris, out) {
			return nil
		}
		out = uris
	}
	return out
}
