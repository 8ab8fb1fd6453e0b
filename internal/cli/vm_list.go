package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

func (a *app) vmList() *cobra.Command {
	var quiet, asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List all VMs",
		Long: `List all VMs, whatever their state, the oldest first. REMARKS says what a state
does not tell: a command that is under way, a supervisor that does not answer,
when the VM will be stopped by itself.`,
		Example: `  banger vm list
  banger vm list -q
  banger vm list --json | jq -r '.[] | select(.state == "running") | .name'`,
		Args: args(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			list, err := c.ListVMs(cmd.Context())
			if err != nil {
				return err
			}
			switch {
			case asJSON:
				return a.json(append([]api.VM{}, list...)) // never null
			case quiet:
				for _, v := range list {
					if err := a.write("%s\n", v.ID); err != nil {
						return err
					}
				}
				return nil
			}
			return a.table(func(w io.Writer) { writeVMs(w, list, time.Now()) })
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print only ids")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// writeVMs writes a table of list. The column of remarks is there if a VM has
// one.
func writeVMs(w io.Writer, list []api.VM, now time.Time) {
	notes, any := make([]string, len(list)), false
	for i, v := range list {
		var short []string
		for _, r := range remarks(v, now) {
			if r.short != "" {
				short = append(short, r.short)
			}
		}
		notes[i] = strings.Join(short, "; ")
		any = any || notes[i] != ""
	}
	end := func(text string) string {
		if !any {
			return "\n"
		}
		return "\t" + text + "\n"
	}
	fmt.Fprint(w, "NAME\tID\tSTATE\tIMAGE\tVCPU\tMEMORY\tDISK USED\tAGE", end("REMARKS"))
	for i, v := range list {
		fmt.Fprintf(w, "%s\t%.12s\t%s\t%s\t%d\t%s\t%s of %s\t%s%s", clean(v.Name), v.ID, v.State, clean(v.Spec.Image),
			v.Spec.VCPUs, vm.FormatMiB(v.Spec.MemMiB), bytesText(v.DiskUsedBytes), vm.FormatMiB(v.Spec.DiskMiB), age(v.CreatedAt), end(notes[i]))
	}
}
