package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
)

// compareCoverage prints statement coverage by package: of the unit tests, of
// the scenarios, and the difference.
func compareCoverage(unitDir, smokeDir string) error {
	unit, err := percents(unitDir)
	if err != nil {
		return err
	}
	smoke, err := percents(smokeDir)
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, m := range []map[string]float64{unit, smoke} {
		for n := range m {
			names[n] = true
		}
	}
	fmt.Printf("%-32s %7s %7s %7s\n", "statements covered, in %", "unit", "smoke", "+/-")
	for _, n := range slices.Sorted(maps.Keys(names)) {
		u, inUnit := unit[n]
		s, inSmoke := smoke[n]
		switch {
		case inUnit && inSmoke:
			fmt.Printf("%-32s %7.1f %7.1f %+7.1f\n", n, u, s, s-u)
		case inUnit:
			fmt.Printf("%-32s %7.1f %7s\n", n, u, "-")
		default:
			fmt.Printf("%-32s %7s %7.1f\n", n, "-", s)
		}
	}
	return nil
}

var percent = regexp.MustCompile(`^\s*banger/(\S+)\s+coverage: ([\d.]+)% of statements`)

// percents asks for the coverage that the counters in dir show, by package.
func percents(dir string) (map[string]float64, error) {
	text, err := exec.Command("go", "tool", "covdata", "percent", "-i="+dir).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("read the counters in %q: %w", dir, err)
	}
	out := map[string]float64{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if m := percent.FindStringSubmatch(lines.Text()); m != nil {
			out[m[1]], err = strconv.ParseFloat(m[2], 64)
			if err != nil {
				return nil, err
			}
		}
	}
	return out, lines.Err()
}
