package mirrors

import "banger/internal/agent/hostconfig"

// Distribution is a Linux distribution and its release (os-release(5)).
type Distribution struct{ ID, Codename string }

// ParseDistribution reads os-release(5). A text that says neither is the zero value.
func ParseDistribution(text string) (d Distribution) {
	d.ID, d.Codename = hostconfig.ParseRelease(text)
	return d
}

func (r *reader) distribution() Distribution {
	for _, name := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		if text, err := r.content(name); err == nil {
			return ParseDistribution(text)
		}
	}
	return Distribution{}
}
