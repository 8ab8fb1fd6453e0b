package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

func (a *app) vmNetwork() *cobra.Command {
	cmd := group("network", "What a VM may reach, and what it was denied", "", `  banger vm network log dev
  banger vm network show dev
  banger vm network check dev example.org:443`)
	cmd.AddCommand(a.vmNetworkLog(), a.vmNetworkShow(), a.vmNetworkCheck())
	return cmd
}

func (a *app) vmNetworkLog() *cobra.Command {
	var in api.NetworkLog
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "log [flags] VM",
		Short: "Print what a VM was denied",
		Long: `Print what a VM's guest wanted of the network and did not get: when, what, why,
which process (as the guest says), and the flag that would allow it. "failed" is what
the policy allowed and this machine could not do, as a name whose server did not answer.`,
		Example: `  banger vm network log dev
  banger vm network log -f dev
  banger vm network log --json dev | jq -r .allow`,
		Args:              args(1, 1, "a VM"),
		ValidArgsFunction: a.names(1),
		RunE: func(cmd *cobra.Command, refs []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return c.NetworkLog(cmd.Context(), refs[0], in, a.stdout)
			}
			allow := ""
			write := func(e api.NetworkEvent) error {
				allow = cmp.Or(e.Allow, allow)
				return a.write("%s\n", denialText(e))
			}
			if in.Follow {
				return eachDenial(cmd.Context(), c, refs[0], in, write)
			}
			each := together(write)
			err = eachDenial(cmd.Context(), c, refs[0], in, each)
			if err = errors.Join(err, each(api.NetworkEvent{})); err == nil && allow != "" {
				a.note("to allow one: banger vm set %s %s", refs[0], allow)
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&in.Follow, "follow", "f", false, "go on until the VM ends")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object a line")
	return cmd
}

// sameWithin is from an event to the next that is the same for people: a program looks a name
// up for both kinds of addresses.
const sameWithin = 5 * time.Second

// together returns what takes events, and hands them to write: those that follow each other soon
// and are the same as one, with the first one's time. The zero event ends it.
func together(write func(api.NetworkEvent) error) func(api.NetworkEvent) error {
	var all, last api.NetworkEvent
	return func(e api.NetworkEvent) error {
		before, now := last, e
		before.Time, before.Count, now.Time, now.Count = time.Time{}, 0, time.Time{}, 0
		if before == now && e.Time.Sub(last.Time) < sameWithin {
			all.Count, last = all.Count+e.Count, e
			return nil
		}
		done := all
		all, last = e, e
		if done.Time.IsZero() {
			return nil
		}
		return write(done)
	}
}

// eachDenial calls each with what the VM was denied.
func eachDenial(ctx context.Context, c *api.Client, ref string, in api.NetworkLog, each func(api.NetworkEvent) error) error {
	r, w := io.Pipe()
	go func() { w.CloseWithError(c.NetworkLog(ctx, ref, in, w)) }() // ends with r
	defer r.Close()
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e api.NetworkEvent
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		if err := each(e); err != nil {
			return err
		}
	}
	return lines.Err()
}

// denialText is a denial in one line.
func denialText(e api.NetworkEvent) string {
	what := cmp.Or(e.Name, e.Addr)
	if e.Port != 0 {
		what = net.JoinHostPort(what, strconv.Itoa(e.Port))
	}
	if e.Name != "" && e.Addr != "" {
		what += " (" + e.Addr + ")"
	}
	if what != "" { // else it is over a limit of the VM's
		what += ": "
	}
	verdict := map[bool]string{true: "failed", false: "denied"}[e.Failed]
	text := fmt.Sprintf("%s  %s  %-4s %s%s", e.Time.Local().Format(time.DateTime), verdict, e.Proto, what, e.Reason)
	if e.Process != "" {
		text += ", asked by " + asked(e.Process)
	}
	if e.Count > 1 {
		text += fmt.Sprintf(", ×%d", e.Count)
	}
	if e.Allow != "" {
		text += "; " + e.Allow + " allows it"
	}
	return clean(text)
}

// asked is a process as the guest says it, quoted if it could be taken for the rest of the line.
func asked(process string) string {
	if strings.ContainsAny(process, ",;\"") || strings.Contains(process, "--") {
		return strconv.Quote(process)
	}
	return process
}

func (a *app) vmNetworkShow() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show [flags] VM",
		Short: "Show what a VM may reach",
		Long: `Show how a VM is connected and what it may reach: its profile, and each rule with
where it is from. Package clients of which no file of this machine's says where they
fetch from are listed as unknown; notes are about what of this machine's configuration
does not count. Of a VM that does not run, it is what its next start gives.`,
		Example:           `  banger vm network show dev`,
		Args:              args(1, 1, "a VM"),
		ValidArgsFunction: a.names(1),
		RunE: func(cmd *cobra.Command, refs []string) error {
			n, err := a.network(cmd.Context(), refs[0], api.NetworkQuery{})
			if err != nil {
				return err
			}
			if asJSON {
				return a.json(n)
			}
			return a.table(func(w io.Writer) {
				fmt.Fprintf(w, "net\t%s\n", clean(n.Mode))
				if n.Mode == vm.NetNone {
					return
				}
				fmt.Fprintf(w, "egress\t%s\n", clean(n.Egress))
				for _, r := range n.Rules {
					fmt.Fprintf(w, "rule\t%s\t%s\n", clean(r.Rule), clean(r.Origin))
				}
				if len(n.Unknown) > 0 {
					fmt.Fprintf(w, "unknown\t%s\tno file of this machine's says where they fetch from: --allow NAME:443 opens a host\n", clean(strings.Join(n.Unknown, ", ")))
				}
				for _, note := range n.Notes {
					fmt.Fprintf(w, "note\t%s\n", clean(note))
				}
				if n.Running {
					fmt.Fprintf(w, "connections\t%d\n", n.Flows)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) vmNetworkCheck() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check [flags] VM NAME[:PORT]",
		Short: "Say what would become of a connection",
		Long: `Say what would become of a connection of a running VM's guest: whether the name is
resolved, to what, which rule decides, and what would allow it. Without a port it is
443. The exit status is 0 if an address of it may be reached, and 1 if none may.`,
		Example: `  banger vm network check dev example.org
  banger vm network check dev 10.0.0.7:5432`,
		Args:              args(2, 2, "a VM and a name"),
		ValidArgsFunction: a.names(1, vm.Running),
		RunE: func(cmd *cobra.Command, typed []string) error {
			q, err := connectionQuery(typed[1])
			if err != nil {
				return err
			}
			n, err := a.network(cmd.Context(), typed[0], q)
			if err != nil {
				return err
			}
			if n.Mode == vm.NetNone {
				n.Check = []api.NetworkCheck{{Name: q.Name, Reason: "the VM has no network (--net none)"}}
			}
			allowed := false
			for _, c := range n.Check {
				allowed = allowed || c.Allow
			}
			if asJSON {
				err = a.json(n.Check)
			} else {
				err = a.table(func(w io.Writer) { writeChecks(w, typed[0], n.Check) })
			}
			if err == nil && !allowed {
				return statusError(1)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// connectionQuery reads NAME[:PORT].
func connectionQuery(text string) (q api.NetworkQuery, err error) {
	if u, err := url.Parse(text); err == nil && u.Host != "" {
		return q, usagef("%q is a URL: type its host with the port, as %s", text, net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), map[string]string{"http": "80", "ssh": "22"}[u.Scheme], "443")))
	}
	q = api.NetworkQuery{Name: text, Port: 443}
	if in, ok := strings.CutPrefix(text, "["); ok {
		q.Name = strings.TrimSuffix(in, "]")
	}
	if host, port, splitErr := net.SplitHostPort(text); splitErr == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return q, usagef("%q is no port, between 1 and 65535", port)
		}
		q.Name, q.Port = host, int(n)
	}
	if q.Name == "" || strings.ContainsAny(q.Name, "/* ") {
		return q, usagef("%q is neither a name nor an address, as example.org:443", text)
	}
	return q, nil
}

func writeChecks(w io.Writer, ref string, checks []api.NetworkCheck) {
	for _, c := range checks {
		verdict := map[bool]string{true: "allowed", false: "denied"}[c.Allow]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", verdict, clean(cmp.Or(c.Name, c.Addr)), clean(c.Addr), clean(cmp.Or(c.Rule, c.Reason)))
		if c.Rule != "" && c.Reason != "" {
			fmt.Fprintf(w, "\t\t\t%s\n", clean(c.Reason))
		}
		if c.Hint != "" {
			fmt.Fprintf(w, "\t\t\t→ banger vm set %s %s\n", clean(ref), clean(c.Hint))
		}
	}
}

func (a *app) network(ctx context.Context, ref string, q api.NetworkQuery) (api.Network, error) {
	c, err := a.connect(ctx)
	if err != nil {
		return api.Network{}, err
	}
	return c.Network(ctx, ref, q)
}

// maxNamed is how many hosts are named at a session's end.
const maxNamed = 3

// noteDenials says which hosts a VM was denied since then, and which the host could not look up,
// ping, or reach by its proxy.
func (a *app) noteDenials(ctx context.Context, c *api.Client, name string, since time.Time) {
	var denied []string
	failed := map[string][]string{} // by protocol
	err := eachDenial(ctx, c, name, api.NetworkLog{}, func(e api.NetworkEvent) error {
		host := clean(cmp.Or(e.Name, e.Addr))
		switch {
		case host == "" || e.Time.Before(since):
		case e.Failed && !slices.Contains(failed[e.Proto], host):
			failed[e.Proto] = append(failed[e.Proto], host)
		case !e.Failed && !slices.Contains(denied, host):
			denied = append(denied, host)
		}
		return nil
	})
	if err != nil {
		return
	}
	a.noteHosts(denied, "a host was denied", "hosts were denied", name)
	a.noteHosts(failed["dns"], "this machine could not look a name up", "names could not be looked up by this machine", name)
	a.noteHosts(failed["icmp"], "this machine could not ping a host", "hosts could not be pinged by this machine", name)
	a.noteHosts(failed["tcp"], "this machine's proxy does not reach a host", "hosts are not reached by this machine's proxy", name)
}

// noteHosts says in a line what became of hosts.
func (a *app) noteHosts(hosts []string, one, several, name string) {
	if len(hosts) == 0 {
		return
	}
	what := fmt.Sprintf("%d %s", len(hosts), several)
	if len(hosts) == 1 {
		what = one
	}
	named := strings.Join(hosts[:min(len(hosts), maxNamed)], ", ")
	if len(hosts) > maxNamed {
		named += " …"
	}
	a.note("%s (%s): banger vm network log %s", what, named, name)
}
