package policy

import (
	"bytes"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/pelletier/go-toml/v2"
)

//go:embed groups.toml
var groupsText []byte

// Names is a group of names as the data file has it.
type Names struct {
	Dev    bool      // on the list of the profile dev
	Source string    // the page that the names are from
	Rules  []Pattern // each with its port
	Except []Pattern // names that Rules would mean, and don't
}

// has says which of a group's patterns means a name and port; a zero port is any.
func (n *Names) has(name string, port uint16, anyPort bool) (Pattern, bool) {
	if slices.ContainsFunc(n.Except, func(p Pattern) bool { return p.names(name) }) {
		return Pattern{}, false
	}
	i := slices.IndexFunc(n.Rules, func(p Pattern) bool { return (anyPort || p.Port == port) && p.names(name) })
	if i < 0 {
		return Pattern{}, false
	}
	return n.Rules[i], true
}

type groupFile struct {
	Noise []string `toml:"noise"`
	Group map[string]struct {
		Dev    bool     `toml:"dev"`
		Source string   `toml:"source"`
		Ports  []uint16 `toml:"ports"`
		Names  []string `toml:"names"`
		Except []string `toml:"except"`
	} `toml:"group"`
}

type groupData struct {
	groups map[string]*Names
	order  []string // the groups' names
	noise  []string
}

// loadGroups reads the data file of this program: it can't be wrong but by a change that
// its test refuses.
var loadGroups = sync.OnceValue(func() groupData {
	d, err := readGroups(groupsText)
	if err != nil {
		panic(fmt.Sprintf("groups.toml: %v", err))
	}
	return d
})

func groups() map[string]*Names { return loadGroups().groups }

// Groups returns the groups by name. The caller changes nothing of them.
func Groups() map[string]*Names { return groups() }

func readGroups(text []byte) (groupData, error) {
	var f groupFile
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&f); err != nil {
		return groupData{}, err
	}
	d := groupData{map[string]*Names{}, slices.Sorted(maps.Keys(f.Group)), f.Noise}
	for name, in := range f.Group {
		if len(in.Ports) == 0 {
			in.Ports = []uint16{443}
		}
		g := &Names{Dev: in.Dev, Source: in.Source}
		for _, s := range in.Names {
			p, err := parsePattern(s)
			if err != nil {
				return groupData{}, fmt.Errorf("group %s: %q: %w", name, s, err)
			}
			if p.Kind > Both {
				return groupData{}, fmt.Errorf("group %s: %q is no name", name, s)
			}
			ports := in.Ports
			if p.Port != 0 {
				ports = []uint16{p.Port}
			}
			for _, p.Port = range ports {
				g.Rules = append(g.Rules, p)
			}
		}
		for _, s := range in.Except {
			p, err := parsePattern(s)
			if err != nil {
				return groupData{}, fmt.Errorf("group %s: %q: %w", name, s, err)
			}
			g.Except = append(g.Except, p)
		}
		d.groups[name] = g
	}
	return d, nil
}

// noise says whether denials of a name need no line: nobody misses it.
func noise(name string) bool { return slices.Contains(loadGroups().noise, name) }
