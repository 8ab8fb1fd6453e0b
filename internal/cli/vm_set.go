package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

// setFlags are the flags of vm set as they were typed.
type setFlags struct {
	name, vcpu, memory, disk, ttl, tz, egress text
	allow, deny, forget                       []string
}

// ttlNone takes a time to live away.
const ttlNone = "none"

func (a *app) vmSet() *cobra.Command {
	var (
		f             setFlags
		quiet, asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "set [flags] VM",
		Short: "Change a VM's CPUs, memory, disk, name, network, time to live or time zone",
		Long: `Change what a VM is. CPUs and memory can be changed only while it does not run;
its disk can grow at any time, and not shrink; a new time to live counts from the start
of the run that it has; a new time zone is set at the next start, and stays in the guest
if it is taken away. What it may reach is changed at once, and connections that it then
may not have are cut.`,
		Example: `  banger vm set dev --vcpu 4 --memory 8G
  banger vm set dev --disk-size 40G
  banger vm set dev --name old
  banger vm set dev --ttl 8h
  banger vm set dev --ttl none
  banger vm set dev --tz Europe/Berlin
  banger vm set dev --egress dev --allow example.org`,
		Args:              args(1, 1, "a VM"),
		ValidArgsFunction: a.names(1),
		RunE: func(cmd *cobra.Command, refs []string) error {
			req, err := f.request(cmd)
			if err != nil {
				return err
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			show := a.display(quiet, false)
			v, err := c.SetVM(cmd.Context(), refs[0], req, each(show))
			show.close()
			if err != nil {
				return err
			}
			if asJSON {
				return a.json(v)
			}
			return a.write("%s\n", clean(v.Name))
		},
	}
	fs := cmd.Flags()
	fs.Var(&f.name, "name", "its new `NAME`")
	fs.Var(&f.vcpu, "vcpu", fmt.Sprintf("`N` virtual CPUs, 1 to %d", vm.MaxVCPUs))
	fs.Var(&f.memory, "memory", "memory `SIZE`, as 512M or 4G; a bare number is MiB")
	fs.Var(&f.disk, "disk-size", "root disk `SIZE`, as 20G, larger than it is; also while it runs")
	fs.Var(&f.ttl, "ttl", "stop it after this `TIME` of each run, as 90m, 8h or 2d; none takes that away")
	fs.Var(&f.tz, "tz", "time `ZONE` from the next start on: host (the host's), UTC, a name as Europe/Berlin, or none for what the guest has")
	fs.Var(&f.egress, "egress", "what it may reach from now on: `PROFILE` public, dev or deny; connections that end with it are cut")
	fs.StringArrayVar(&f.allow, "allow", nil, "add a rule: allow `NAME[:PORT]`, as vm run --allow")
	fs.StringArrayVar(&f.deny, "deny", nil, "add a rule: deny `NAME[:PORT]`")
	fs.StringArrayVar(&f.forget, "forget", nil, "take away the VM's own rule `NAME[:PORT]`, as it was typed")
	fs.BoolVarP(&quiet, "quiet", "q", false, "no progress and no notices")
	fs.BoolVar(&asJSON, "json", false, "print the VM as JSON")
	for _, name := range []string{"name", "vcpu", "memory", "disk-size", "ttl"} {
		cmd.RegisterFlagCompletionFunc(name, nothing)
	}
	cmd.RegisterFlagCompletionFunc("tz", cobra.FixedCompletions([]string{vm.ZoneHost, vm.ZoneUTC, vm.ZoneNone}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// request checks the flags and returns what they ask for.
func (f *setFlags) request(cmd *cobra.Command) (req api.Set, err error) {
	typed := func(flag string) bool { return cmd.Flags().Changed(flag) }
	whole := vm.Defaults(1, 0) // what is not typed is sound
	if typed("name") {
		if err := vm.CheckName(string(f.name)); err != nil {
			return req, fieldError("name", err)
		}
		req.Name = string(f.name)
	}
	if typed("vcpu") {
		if req.VCPUs, err = parseVCPUs(f.vcpu); err != nil {
			return req, err
		}
		whole.VCPUs = req.VCPUs
	}
	if typed("memory") {
		if req.MemMiB, err = vm.ParseMiB(string(f.memory)); err != nil {
			return req, fieldError("memory", err)
		}
		whole.MemMiB = req.MemMiB
	}
	if typed("disk-size") {
		if req.DiskMiB, err = vm.ParseMiB(string(f.disk)); err != nil {
			return req, fieldError("disk-size", err)
		}
		whole.DiskMiB = req.DiskMiB
	}
	if typed("ttl") {
		if f.ttl == ttlNone {
			req.TTLSeconds = -1
		} else if req.TTLSeconds, err = parseTTL(f.ttl); err != nil {
			return req, err
		}
	}
	if typed("tz") {
		if req.TZ, whole.TZ = string(f.tz), string(f.tz); req.TZ == "" {
			return req, errNoZone
		}
	}
	if typed("egress") || len(f.allow)+len(f.deny)+len(f.forget) > 0 {
		req.Network = &api.SetNetwork{Egress: string(f.egress), Allow: f.allow, Deny: f.deny, Forget: f.forget}
		if whole.Network.Egress = string(f.egress); typed("egress") && f.egress == "" {
			return req, fieldError("egress", fmt.Errorf("it is empty"))
		}
	}
	if err := whole.Check(); err != nil {
		return req, &usageError{err}
	}
	if req == (api.Set{}) {
		return req, usagef("nothing to change: see %s --help", cmd.CommandPath())
	}
	return req, nil
}
