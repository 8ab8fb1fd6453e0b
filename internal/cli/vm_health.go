package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

// exitUnhealthy is the exit status of vm health for a VM that is not well.
const exitUnhealthy = 1

func (a *app) vmHealth() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "health [flags] VM",
		Short: "Ask how a VM is",
		Long: `Ask a VM's supervisor and the agent in its guest how they are. The exit status
is 0 if the VM is healthy and 1 if it is not. A VM that does not run is not
healthy.`,
		Example: `  banger vm health dev
  banger vm health dev --json | jq -r '.problems[]'`,
		Args:              args(1, 1, "a VM"),
		ValidArgsFunction: a.names(1, vm.Running, vm.Paused),
		RunE: func(cmd *cobra.Command, refs []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			h, err := c.VMHealth(cmd.Context(), refs[0])
			if err != nil {
				return err
			}
			if asJSON {
				err = a.json(h)
			} else {
				err = a.table(func(w io.Writer) { writeHealth(w, h) })
			}
			if err == nil && !h.Healthy {
				return statusError(exitUnhealthy)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func writeHealth(w io.Writer, h api.Health) {
	fmt.Fprintf(w, "health\t%s\n", map[bool]string{true: "healthy", false: "not healthy"}[h.Healthy])
	fmt.Fprintf(w, "state\t%s\n", h.State)
	for _, p := range h.Problems {
		fmt.Fprintf(w, "problem\t%s\n", clean(p))
	}
	g := h.Guest
	if g == nil {
		return
	}
	fmt.Fprintf(w, "up for\t%s\n", span(time.Duration(g.UptimeMillis)*time.Millisecond))
	fmt.Fprintf(w, "init\t%s\n", clean(g.Init))
	if g.MemTotalKiB > 0 {
		fmt.Fprintf(w, "memory\t%s of %s free\n", bytesText(g.MemFreeKiB<<10), bytesText(g.MemTotalKiB<<10))
	}
	if g.DiskTotalKiB > 0 {
		fmt.Fprintf(w, "disk\t%s of %s free\n", bytesText(g.DiskFreeKiB<<10), bytesText(g.DiskTotalKiB<<10))
	}
	fmt.Fprintf(w, "commands\t%d\n", g.Processes)
}
