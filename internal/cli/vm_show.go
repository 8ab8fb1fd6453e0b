package cli

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

func (a *app) vmShow() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show VM…",
		Short: "Show VMs in full",
		Example: `  banger vm show dev
  banger vm show dev --json | jq -r .state`,
		Args:              args(1, -1, "a VM: a name, an id, or the beginning of an id"),
		ValidArgsFunction: a.refs,
		RunE: func(cmd *cobra.Command, refs []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			var failed error
			for i, ref := range refs {
				v, err := show(cmd.Context(), c, ref)
				switch {
				case err != nil && len(refs) == 1:
					return err
				case err != nil:
					a.report(fmt.Errorf("%s: %w", ref, err))
					failed = fmt.Errorf("%w: %w", errReported, err)
					continue
				case asJSON:
					err = a.json(v)
				default:
					if i > 0 {
						fmt.Fprintln(a.stdout)
					}
					err = writeVM(a.stdout, v)
				}
				if err != nil {
					return err
				}
			}
			return failed
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, an object a VM")
	return cmd
}

func show(ctx context.Context, c *api.Client, ref string) (v api.VM, err error) {
	return v, c.Get(ctx, api.Path(api.PathVM, ref), &v)
}

func writeVM(out io.Writer, v api.VM) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	line := func(key, format string, args ...any) { fmt.Fprintf(w, key+"\t"+format+"\n", args...) }
	line("name", "%s", v.Spec.Name)
	line("id", "%s", v.ID)
	line("state", "%s", v.State)
	line("image", "%s (%.19s…)", clean(v.Spec.Image), v.ImageDigest)
	line("kernel", "%s (%.19s…)", clean(v.Spec.Kernel), v.KernelDigest)
	line("vcpu", "%d", v.Spec.VCPUs)
	line("memory", "%s", vm.FormatMiB(v.Spec.MemMiB))
	line("disk", "%s, %s used", vm.FormatMiB(v.Spec.DiskMiB), bytesText(v.DiskUsedBytes))
	line("vmm", "%s", v.Spec.VMM)
	if v.Driver != "" {
		line("runs on", "%s, %s: %s", v.Driver, v.Accel, clean(v.Why))
	}
	line("created", "%s", v.CreatedAt.Local().Format(time.DateTime))
	if !v.StartedAt.IsZero() {
		line("started", "%s", v.StartedAt.Local().Format(time.DateTime))
	}
	if v.Supervisor != nil {
		line("supervisor", "pid %d", v.Supervisor.PID)
	}
	if v.VMM != nil {
		line("vmm process", "pid %d", v.Record.VMM.PID)
	}
	if v.Remove {
		line("goes with", "its session")
	}
	if v.Ending != nil {
		line("ended", "%s: %s", v.Ending.At.Local().Format(time.DateTime), endingText(*v.Ending))
		for _, l := range v.Ending.Console {
			line("", "| %s", clean(l))
		}
	}
	line("directory", "%s", v.Dir)
	for _, n := range v.Notes {
		line("note", "%s", clean(n))
	}
	return w.Flush()
}

// endingText is an ending in words.
func endingText(e vm.Ending) string {
	text := map[string]string{
		vm.CauseStopped: "stopped", vm.CauseGuest: "the guest ended", vm.CausePanic: "the guest's kernel panicked",
		vm.CauseVMM: "the VMM ended", vm.CauseBoot: "it did not come up", vm.CauseLost: "it was lost",
		vm.CauseHostBoot: "the host was started again", vm.CauseCancelled: "its start was given up",
	}[e.Cause]
	if text == "" {
		text = clean(e.Cause)
	}
	if e.Forced {
		text += ", by force"
	}
	if e.Detail != "" {
		text += ": " + clean(e.Detail)
	}
	return text
}
