package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

func (a *app) vmShow() *cobra.Command {
	return several(a, verb[api.VM]{
		cmd: &cobra.Command{
			Use:   "show [flags] VM…",
			Short: "Show VMs in full",
			Long:  `Show all that is known of VMs: what they are, how they run, how they ended.`,
			Example: `  banger vm show dev
  banger vm show dev --json | jq -r .state`,
			ValidArgsFunction: a.names(0),
		},
		instant: true,
		do: func(ctx context.Context, c *api.Client, ref string, _ api.Each) (api.VM, error) {
			return c.ShowVM(ctx, ref)
		},
		human: func(v api.VM, first bool) error {
			if !first {
				if err := a.write("\n"); err != nil {
					return err
				}
			}
			return a.table(func(w io.Writer) { writeVM(w, v, time.Now()) })
		},
	})
}

// writeVM writes a line for each fact about v: a key, a tab, a value.
func writeVM(w io.Writer, v api.VM, now time.Time) {
	line := func(key, format string, args ...any) { fmt.Fprintf(w, key+"\t"+format+"\n", args...) }
	line("name", "%s", clean(v.Name))
	line("id", "%s", v.ID)
	line("state", "%s", v.State)
	for _, r := range remarks(v, now) {
		if r.long != "" {
			line(r.key, "%s", r.long)
		}
	}
	line("image", "%s%s", clean(v.Spec.Image), digestText(v.ImageDigest))
	line("kernel", "%s%s", clean(v.Spec.Kernel), digestText(v.KernelDigest))
	line("vcpu", "%d", v.Spec.VCPUs)
	line("memory", "%s", vm.FormatMiB(v.Spec.MemMiB))
	line("disk", "%s, %s used", vm.FormatMiB(v.Spec.DiskMiB), bytesText(v.DiskUsedBytes))
	if v.Spec.TZ != "" {
		line("time zone", "%s", clean(v.Spec.TZ))
	}
	line("vmm", "%s", clean(v.Spec.Driver))
	if m := v.VMM; m != nil && m.Driver != "" {
		line("runs on", "%s %s, %s: %s", clean(m.Driver), clean(m.Version), clean(m.Accel), clean(m.Why))
		freed := "what the guest frees stays with its disk: this VMM takes no discards"
		if m.Discards {
			freed = "what the guest frees and trims goes back to the host"
		}
		line("trim", "%s", freed)
	}
	line("created", "%s", moment(v.CreatedAt))
	if !v.StartedAt.IsZero() {
		line("started", "%s", moment(v.StartedAt))
	}
	if v.BootID != "" {
		line("boot id", "%s", clean(v.BootID))
	}
	if v.Supervisor != nil {
		line("supervisor", "pid %d", v.Supervisor.PID)
	}
	if v.VMM != nil && v.VMM.PID != 0 {
		line("vmm process", "pid %d", v.VMM.PID)
	}
	if v.Ending != nil {
		line("ended", "%s: %s", moment(v.Ending.At), endingText(*v.Ending))
		if v.Ending.Hint != "" {
			line("", "→ %s", clean(v.Ending.Hint))
		}
		for _, l := range v.Ending.Console {
			line("", "| %s", clean(l))
		}
	}
	for _, w := range v.Workspaces {
		saved := "not saved yet"
		if !w.SavedAt.IsZero() {
			saved = "saved " + moment(w.SavedAt)
		}
		line("workspace", "%s, from %s, %s", clean(w.GuestPath), clean(w.Repository), saved)
	}
	line("directory", "%s", clean(v.Dir))
	if v.VMM != nil {
		for _, g := range v.VMM.Gaps {
			line("not confined", "%s", clean(g))
		}
	}
	for _, n := range v.Notes {
		line("note", "%s", clean(n))
	}
}

// digestText is the beginning of a digest in brackets; "" before there is one.
func digestText(digest string) string {
	if digest == "" {
		return ""
	}
	if len(digest) > 19 { // sha256: and 12 digits, as listings have it
		digest = digest[:19] + "…"
	}
	return " (" + clean(digest) + ")"
}
