package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

const reportFile = "docs/torture.md"

// report writes the row of a part in docs/torture.md anew.
func report(p part, at progress) error {
	text, err := os.ReadFile(reportFile)
	if err != nil {
		return err
	}
	result := "passed"
	switch {
	case len(at.Failed) > 0:
		result = "**failed**: " + strings.Join(at.Failed, "; ")
	case at.Slice < p.slices:
		result = fmt.Sprintf("passed so far, %d of %d slices", at.Slice, p.slices)
	}
	row := fmt.Sprintf("| %s | %s | %s | %s, %s, %d cores, %.0f min | %s |\n", p.name, p.what, result,
		time.Now().Format(time.DateOnly), version(), runtime.NumCPU(), at.Seconds/60, figures(at.Figures))
	var out strings.Builder
	found := false
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "| "+p.name+" |") {
			line, found = row, true
		}
		out.WriteString(line)
	}
	if !found {
		out.WriteString(row)
	}
	return os.WriteFile(reportFile, []byte(out.String()), 0o644)
}

// maxFigures is how many lines of figures a row has.
const maxFigures = 3

// figures are the last lines of what the tests said, equal ones once.
func figures(all []string) string {
	times := map[string]int{}
	var once []string
	for _, f := range all {
		if times[f]++; times[f] == 1 {
			once = append(once, f)
		}
	}
	for n, f := range once {
		if times[f] > 1 {
			once[n] = fmt.Sprintf("%d times: %s", times[f], f)
		}
	}
	return strings.ReplaceAll(strings.Join(once[max(0, len(once)-maxFigures):], "; "), "|", "/")
}

// version is the commit under test.
func version() string {
	out, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "of no commit"
	}
	return strings.TrimSpace(string(out))
}
