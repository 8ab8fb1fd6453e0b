package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"banger/internal/api"
)

func (a *app) daemonStatus() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show the daemon, without starting it",
		Long:    `Show the daemon that runs. The exit status is 125 if none does.`,
		Example: "  banger daemon status\n  banger daemon status --json",
		Args:    args(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.running()
			if err != nil {
				return err
			}
			d, err := c.AnyVersion().ShowDaemon(cmd.Context())
			if err != nil {
				if errors.Is(err, api.ErrNoDaemon) {
					return fmt.Errorf("%w; the next command that needs it starts it", api.ErrNoDaemon)
				}
				return err
			}
			if asJSON {
				return a.json(d)
			}
			if d.Version != api.ProgramVersion() {
				a.note("its version is not that of this banger, %s: banger daemon stop, and the next command starts the right one", api.ProgramVersion())
			}
			names := d.Names
			if d.NamesProblem != "" {
				names = "not answered: " + d.NamesProblem
			}
			return a.table(func(w io.Writer) {
				fmt.Fprintf(w, "version\t%s (API %d)\npid\t%d\nrunning for\t%s\nmemory\t%s\nVMs\t%d, %d running\nsocket\t%s\nstate\t%s\ncache\t%s\nlog\t%s\nnames of VMs\t%s\n",
					clean(d.Version), d.API, d.PID, age(d.StartedAt), bytesText(d.RSSKiB<<10), d.VMs, d.Running, clean(d.Socket), clean(d.StateDir), clean(d.CacheDir), clean(d.LogFile), clean(names))
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
