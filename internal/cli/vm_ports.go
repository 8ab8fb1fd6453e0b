package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

func (a *app) vmPorts() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ports [flags] [VM…]",
		Short: "List what listens in VMs, and where it answers",
		Long: `List the TCP ports that listen in VMs, those on a guest's loopback too, with the process
(as the guest says) and the address of this host that answers, if there is one; without a
VM, of all that run. What has none is reached after vm forward. The first line of each VM
is its SSH service, which listens on no network: the last column is the command.`,
		Example: `  banger vm ports
  banger vm ports dev
  banger vm ports --json dev | jq -r '.ports[].endpoint'`,
		Args:              args(0, -1, "a VM"),
		ValidArgsFunction: a.names(0, vm.Running),
		RunE: func(cmd *cobra.Command, refs []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			all, err := a.portsOf(cmd.Context(), c, refs)
			if err != nil {
				return err
			}
			if asJSON {
				for _, p := range all {
					if err := a.json(p); err != nil {
						return err
					}
				}
				return nil
			}
			return a.table(func(w io.Writer) { writePorts(cmd.Context(), w, all) })
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, an object for each VM")
	return cmd
}

// portsOf asks for the ports of the VMs that were named, else of all that run. Of those, one
// that does not answer is a note.
func (a *app) portsOf(ctx context.Context, c *api.Client, refs []string) (all []api.Ports, err error) {
	named := len(refs) > 0
	if !named {
		list, err := c.ListVMs(ctx)
		if err != nil {
			return nil, err
		}
		for _, v := range list {
			if v.Session != nil {
				refs = append(refs, string(v.ID))
			}
		}
	}
	for _, ref := range refs {
		p, err := c.Ports(ctx, ref)
		switch {
		case err == nil:
			all = append(all, p)
		case !named && isCode(err, api.CodeSilent):
			a.note("%s", oneLine(err))
		case named || !isCode(err, api.CodeState, api.CodeNotFound): // else it has ended meanwhile
			return nil, err
		}
	}
	return all, nil
}

func writePorts(ctx context.Context, w io.Writer, all []api.Ports) {
	fmt.Fprintln(w, "VM\tPORT\tADDRESS\tPROCESS\tENDPOINT")
	ctx, cancel := context.WithTimeout(ctx, resolveLimit)
	defer cancel()
	for _, vm := range all {
		name := ""
		if slices.ContainsFunc(vm.Ports, func(p api.Port) bool { return p.Endpoint.Addr() == vm.Own && vm.Own.IsValid() }) && resolves(ctx, vm) {
			name = vm.Name + ".vm"
		}
		if vm.SSH != "" {
			fmt.Fprintf(w, "%s\tssh\t-\tbanger-agent\t%s\n", clean(vm.Name), clean(sshWay(vm.SSH)))
		}
		for _, p := range vm.Ports {
			addr, process, endpoint := "-", "-", "-"
			if p.Addr.IsValid() {
				addr = p.Addr.String()
			}
			if p.Process != "" {
				process = fmt.Sprintf("%s (%d)", p.Process, p.PID)
			}
			switch {
			case p.Endpoint.IsValid() && p.Endpoint.Addr() == vm.Own && name != "":
				endpoint = net.JoinHostPort(name, strconv.Itoa(int(p.Endpoint.Port())))
			case p.Endpoint.IsValid():
				endpoint = p.Endpoint.String()
			}
			if p.Problem != "" {
				endpoint += ": " + p.Problem
			}
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", clean(vm.Name), p.Port, clean(addr), clean(process), clean(endpoint))
		}
		if vm.More > 0 {
			fmt.Fprintf(w, "%s\t…\t\t\t%d more\n", clean(vm.Name), vm.More)
		}
	}
}

// resolveLimit bounds the questions whether this host resolves NAME.vm, all of them.
const resolveLimit = 500 * time.Millisecond

// resolves reports whether this host resolves the VM's name to its address.
func resolves(ctx context.Context, p api.Ports) bool {
	addrs, err := net.DefaultResolver.LookupHost(ctx, p.Name+".vm.")
	return err == nil && slices.Contains(addrs, p.Own.String())
}

func (a *app) vmForward() *cobra.Command {
	var remove, asJSON bool
	cmd := &cobra.Command{
		Use:   "forward [flags] VM [ADDR:]HOST:GUEST…",
		Short: "Forward ports of this host to a VM's guest",
		Long: `Forward a port of this host to one of a VM's guest, where it may listen on its loopback
only. It listens on 127.0.0.1 if no ADDR is given, and refuses other users of this host. It is
there at once if the VM runs, and again at each start, until --remove; a running bangerd
is not needed for it. Of several, one that can't be had stops no other.`,
		Example: `  banger vm forward dev 8080:80
  banger vm forward dev 0.0.0.0:8080:80
  banger vm forward --remove dev 8080`,
		Args: args(2, -1, "a VM and [ADDR:]HOST:GUEST"), ValidArgsFunction: a.names(1),
		RunE: func(cmd *cobra.Command, typed []string) error {
			changes, err := forwardChanges(typed[1:], remove)
			if err != nil {
				return err
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			errs := make([]error, len(changes))
			for i := range changes { // one after the other: two may want the same
				if errs[i] = cmd.Context().Err(); errs[i] == nil {
					changes[i].after, errs[i] = c.Forward(cmd.Context(), typed[0], changes[i].in)
				}
			}
			if len(changes) == 1 && errs[0] != nil {
				return errs[0]
			}
			var last *api.Ports
			err = reportEach(a, typed[1:], changes, errs, func(f forwardChange, first bool) error {
				last = &f.after
				switch {
				case asJSON, remove:
					return nil
				case first && !f.after.Running:
					a.note("it is there from the next start on: banger vm start %s", f.after.Name)
				}
				return a.write("%s\n", f.host)
			})
			if asJSON && last != nil {
				err = errors.Join(err, a.json(*last))
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "end the forwards at [ADDR:]HOST; connections go on")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the VM's ports as JSON")
	return cmd
}

// forwardChange is one forward that is made or ended, and the VM's ports after it.
type forwardChange struct {
	host  netip.AddrPort
	in    api.Forward
	after api.Ports
}

// forwardChanges reads the arguments behind the VM: a change each.
func forwardChanges(typed []string, remove bool) (changes []forwardChange, err error) {
	for _, text := range typed {
		f, err := vm.ParseForward(text)
		if remove {
			if at, atErr := vm.ParseForwardHost(text); atErr == nil || err != nil { // else as it was made
				f.Host, err = at, atErr
			}
		}
		switch {
		case err != nil:
			return nil, &usageError{err}
		case slices.ContainsFunc(changes, func(c forwardChange) bool { return c.host == f.Host }):
			return nil, usagef("%s is given twice", f.Host)
		}
		in := api.Forward{Add: []vm.Forward{f}}
		if remove {
			in = api.Forward{Remove: []netip.AddrPort{f.Host}}
		}
		changes = append(changes, forwardChange{host: f.Host, in: in})
	}
	return changes, nil
}

// parseForwards reads what -p was given.
func parseForwards(typed []string) (out []vm.Forward, err error) {
	for _, text := range typed {
		f, err := vm.ParseForward(text)
		if err != nil {
			return nil, fieldError("publish", err)
		}
		out = append(out, f)
	}
	return out, nil
}
