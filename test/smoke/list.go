package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"banger/test/day"
	"banger/test/harness"
	"banger/test/smoke/testhost"
)

// list is what a run has to do: scenarios by what they need (see package
// harness), and the suites of drivers.
type list struct {
	only        string          // as go test -run has it, of NAME/VMM
	user, other bool            // there are scenarios of that kind
	between     map[string]bool // there are some with two halves, and that between them
	contracts   []string
	image       bool // there are some that want the day's image: only when they are asked for
}

// limit bounds the run.
func (l *list) limit() time.Duration {
	if l.image || harness.Repeat() != "1" {
		return dayLimit
	}
	return usualLimit
}

// readList says what of what there is matches only.
func readList(only string) (*list, error) {
	files, err := filepath.Glob(scenarioDir + "/*.txtar")
	if err != nil {
		return nil, err
	}
	l := &list{only: only, between: map[string]bool{}}
	for _, f := range files {
		script, err := harness.ReadScript(f)
		if err != nil {
			return nil, err
		}
		if ok, err := matches(only, script.Name, ""); err != nil {
			return nil, err
		} else if !ok {
			continue
		}
		switch {
		case script.Image == day.Image:
			l.image = l.image || only != ""
		case script.Image != "":
			return nil, fmt.Errorf("%s: the test host has no image %q", f, script.Image)
		case script.Between != "":
			l.between[script.Between] = true
		case script.User == testhost.Other:
			l.other = true
		case script.User == "":
			l.user = true
		default:
			return nil, fmt.Errorf("%s: the test host has no user %q for scenarios", f, script.User)
		}
	}
	for _, driver := range drivers {
		ok, err := matches(only, "contract", driver)
		switch {
		case err != nil:
			return nil, err
		case ok:
			l.contracts = append(l.contracts, driver)
		}
	}
	if !l.image && !l.user && !l.other && len(l.between) == 0 && len(l.contracts) == 0 {
		return nil, fmt.Errorf("no scenario matches %q; there are those of %s, and contract", only, scenarioDir)
	}
	return l, nil
}

// matches reads only as go test does. An empty vmm is any.
func matches(only, name, vmm string) (bool, error) {
	for one := range strings.SplitSeq(only, "|") {
		n, v, _ := strings.Cut(one, "/")
		nameRE, err := regexp.Compile(n)
		if err != nil {
			return false, err
		}
		vmmRE, err := regexp.Compile(v)
		if err != nil {
			return false, err
		}
		if nameRE.MatchString(name) && (vmm == "" || vmmRE.MatchString(vmm)) {
			return true, nil
		}
	}
	return false, nil
}
