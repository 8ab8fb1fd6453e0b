//go:build covered

package agent

import (
	"errors"
	"os"
	"path/filepath"
	"runtime/coverage"
)

// Coverage returns the agent's counters as the files that Go writes at a
// program's end, which an agent does not live to see.
func (a *agent) Coverage() (map[string][]byte, error) {
	dir, err := os.MkdirTemp("/run", "coverage-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := errors.Join(coverage.WriteMetaDir(dir), coverage.WriteCountersDir(dir)); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return files, nil
}
