package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"banger/internal/vm"
)

// titleNetwork is the group of flags in the help.
const titleNetwork = "Network"

// networkFlags say how a new VM is connected, and what it may reach. The daemon reads the
// rules.
type networkFlags struct {
	net, egress text
	allow, deny []string
	publish     []string
	auto        bool
}

func (f *networkFlags) add(cmd *cobra.Command) {
	grouped(cmd, titleNetwork, func() {
		fs := cmd.Flags()
		fs.Var(&f.net, "net", "connect it by `MODE`: user (through its VMM's channel, the default) or none")
		fs.Var(&f.egress, "egress", "what it may reach: `PROFILE` public (every public address, the default), dev (forges, tools, registries) or deny")
		fs.StringArrayVar(&f.allow, "allow", nil, "allow `NAME[:PORT]`: example.org, *.example.org, .example.org (both), an address, @GROUP, or host:PORT of this machine")
		fs.StringArrayVar(&f.deny, "deny", nil, "deny `NAME[:PORT]`, as --allow has it")
		fs.StringArrayVarP(&f.publish, "publish", "p", nil, "forward a port of this host to the guest's: `[ADDR:]HOST:GUEST`, as 8080:80; on 127.0.0.1 if no ADDR is given")
		fs.BoolVar(&f.auto, "auto-forward", false, "forward to each port that listens in the guest, on the VM's own address, that of NAME.vm (64 at most)")
	})
	completeNetwork(cmd)
}

func completeNetwork(cmd *cobra.Command) {
	cmd.RegisterFlagCompletionFunc("net", cobra.FixedCompletions([]string{vm.NetUser, vm.NetNone}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("egress", cobra.FixedCompletions([]string{vm.EgressPublic, vm.EgressDev, vm.EgressDeny}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("allow", nothing)
	cmd.RegisterFlagCompletionFunc("deny", nothing)
	cmd.RegisterFlagCompletionFunc("publish", nothing)
}

// network checks the flags and returns what they ask for.
func (f *networkFlags) network(cmd *cobra.Command) (vm.Network, error) {
	n := vm.Network{Mode: string(f.net), Egress: string(f.egress), Allow: f.allow, Deny: f.deny, AutoForward: f.auto}
	var err error
	if n.Publish, err = parseForwards(f.publish); err != nil {
		return n, err
	}
	for name, value := range map[string]string{"net": n.Mode, "egress": n.Egress} {
		if cmd.Flags().Changed(name) && value == "" {
			return n, fieldError(name, fmt.Errorf("it is empty"))
		}
	}
	if err := n.Check(); err != nil {
		return n, &usageError{err}
	}
	return n, nil
}
