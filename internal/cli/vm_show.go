package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

func (a *app) vmShow() *cobra.Command {
	return a.command(verb{
		cmd: &cobra.Command{
			Use:   "show VM…",
			Short: "Show VMs in full",
			Example: `  banger vm show dev
  banger vm show dev --json | jq -r .state`,
			ValidArgsFunction: a.names(0),
		},
		instant: true,
		do: func(ctx context.Context, c *api.Client, ref string, _ func(api.Event)) (v api.VM, err error) {
			return v, c.Get(ctx, api.Path(api.PathVM, ref), &v)
		},
		human: func(v api.VM, first bool) error {
			if !first {
				if err := a.write("\n"); err != nil {
					return err
				}
			}
			return a.table(func(w io.Writer) { writeVM(w, v) })
		},
	})
}

// writeVM writes a line for each thing to know of v, key and value apart by a
// tab.
func writeVM(w io.Writer, v api.VM) {
	line := func(key, format string, args ...any) { fmt.Fprintf(w, key+"\t"+format+"\n", args...) }
	line("name", "%s", v.Spec.Name)
	line("id", "%s", v.ID)
	line("state", "%s", v.State)
	line("image", "%s (%.19s…)", clean(v.Spec.Image), clean(v.ImageDigest))
	line("kernel", "%s (%.19s…)", clean(v.Spec.Kernel), clean(v.KernelDigest))
	line("vcpu", "%d", v.Spec.VCPUs)
	line("memory", "%s", vm.FormatMiB(v.Spec.MemMiB))
	line("disk", "%s, %s used", vm.FormatMiB(v.Spec.DiskMiB), bytesText(v.DiskUsedBytes))
	line("vmm", "%s", clean(v.Spec.VMM))
	if v.Driver != "" {
		line("runs on", "%s %s, %s: %s", clean(v.Driver), clean(v.Version), clean(v.Accel), clean(v.Why))
	}
	line("created", "%s", moment(v.CreatedAt))
	if !v.StartedAt.IsZero() {
		line("started", "%s", moment(v.StartedAt))
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
		line("ended", "%s: %s", moment(v.Ending.At), endingText(*v.Ending))
		for _, l := range v.Ending.Console {
			line("", "| %s", clean(l))
		}
	}
	line("directory", "%s", clean(v.Dir))
	for _, n := range v.Notes {
		line("note", "%s", clean(n))
	}
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
