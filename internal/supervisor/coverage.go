//go:build covered

package supervisor

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"banger/internal/channel/control"
)

// saveCoverage fetches the agent's counters before the guest ends, to where this
// program's own go.
func (r *run) saveCoverage(guest *control.Client) {
	dir := os.Getenv("GOCOVERDIR")
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), syncLimit)
	defer cancel()
	files, err := guest.Coverage(ctx)
	if err != nil {
		r.log.Warn("fetch the agent's counters", "err", err)
		return
	}
	for name, text := range files {
		if name != filepath.Base(name) || !strings.HasPrefix(name, "cov") {
			continue // the guest chose it
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			r.log.Warn("write the agent's counters", "err", err)
		}
	}
}
