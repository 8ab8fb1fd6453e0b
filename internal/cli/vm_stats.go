package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"banger/internal/api"
	"banger/internal/vm"
)

const (
	// statsEvery is how often --follow measures.
	statsEvery = 2 * time.Second
	// statsSample is the time between the two measurements that tell the CPU of
	// one table.
	statsSample = 500 * time.Millisecond
	// startError is how far two readings of one process's start differ: it comes
	// in ticks of 10 ms since the host's boot.
	startError = 100 * time.Millisecond
)

func (a *app) vmStats() *cobra.Command {
	s := stats{a: a, every: statsEvery, sample: statsSample, last: map[vm.ID]api.Stats{}}
	cmd := &cobra.Command{
		Use:   "stats [flags] [VM…]",
		Short: "Show what VMs take of the host",
		Long: `Show the CPU, memory, disk and I/O that VMs take of this host; without a VM, of
all that run. CPU is counted in CPUs: 100% is one of the host's, in use all the
time. Memory is what the VMM holds now, of what the guest was given. Disk is what
this VM alone takes, and the base image and kernel that VMs share.

With --json each measurement is one line: an object of counters since the VMM's
start.`,
		Example: `  banger vm stats
  banger vm stats -f dev
  banger vm stats --json dev | jq .mem_rss_kib`,
		Args:              args(0, -1, "a VM"),
		ValidArgsFunction: a.names(0, vm.Running, vm.Paused),
		RunE: func(cmd *cobra.Command, refs []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			s.client, s.refs = c, refs
			return s.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVarP(&s.follow, "follow", "f", false, "measure every 2 s until interrupted, or until the named VMs have ended")
	cmd.Flags().BoolVar(&s.json, "json", false, "print JSON, an object a line")
	return cmd
}

// stats is one vm stats command.
type stats struct {
	a             *app
	client        *api.Client
	refs          []string // none means all that run
	follow, json  bool
	every, sample time.Duration
	last          map[vm.ID]api.Stats // the measurement before
}

func (s *stats) run(ctx context.Context) error {
	now, err := s.measure(ctx)
	if err != nil {
		return err
	}
	if !s.json { // a first difference for the table
		if err := s.keep(ctx, now, s.sample); err != nil {
			return err
		}
		if now, err = s.measure(ctx); err != nil {
			return err
		}
	}
	for {
		if err := s.write(now); err != nil || !s.follow {
			return err
		}
		if err := s.keep(ctx, now, s.every); err != nil {
			return err
		}
		if now, err = s.measure(ctx); err != nil {
			if len(s.refs) > 0 && isCode(err, api.CodeState, api.CodeNotFound) {
				return nil // it ran, and has ended
			}
			return err
		}
	}
}

// keep remembers a measurement for the next one's difference and waits.
func (s *stats) keep(ctx context.Context, now []api.Stats, wait time.Duration) error {
	clear(s.last)
	for _, m := range now {
		s.last[m.ID] = m
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}

// measure asks for all VMs. VMs that were not named may end meanwhile.
func (s *stats) measure(ctx context.Context) (out []api.Stats, err error) {
	refs := s.refs
	if len(refs) == 0 {
		list, err := s.client.ListVMs(ctx)
		if err != nil {
			return nil, err
		}
		for _, v := range list {
			if v.VMM != nil && v.VMM.PID != 0 {
				refs = append(refs, string(v.ID))
			}
		}
	}
	var failed error
	for _, ref := range refs {
		m, err := s.client.VMStats(ctx, ref)
		switch {
		case err == nil:
			out = append(out, m)
		case len(s.refs) == 0 && isCode(err, api.CodeState, api.CodeNotFound):
		case len(s.refs) > 1 && isCode(err, api.CodeState, api.CodeNotFound):
			if failed == nil {
				failed = fmt.Errorf("%s: %w", ref, err)
			}
		default:
			return nil, err
		}
	}
	if failed != nil && (len(out) == 0 || len(s.last) == 0) {
		return nil, failed
	}
	return out, nil
}

func isCode(err error, codes ...api.Code) bool {
	var f *api.Fault
	if !errors.As(err, &f) {
		return false
	}
	for _, c := range codes {
		if f.Code == c {
			return true
		}
	}
	return false
}

func (s *stats) write(now []api.Stats) error {
	if s.json {
		for _, m := range now {
			text, err := json.Marshal(m)
			if err != nil {
				return err
			}
			if err := s.a.write("%s\n", escapeJSON(text)); err != nil {
				return err
			}
		}
		return nil
	}
	if s.follow && term.IsTerminal(int(s.a.stdout.Fd())) {
		// Home, and clear what is below: the next table takes the last one's place.
		if err := s.a.write("\x1b[H\x1b[J"); err != nil {
			return err
		}
	}
	return s.a.table(func(w io.Writer) {
		fmt.Fprintln(w, "NAME\tCPU\tMEMORY\tDISK OWN\tDISK SHARED\tREAD\tWRITTEN\tSINCE")
		for _, m := range now {
			fmt.Fprintf(w, "%s\t%s\t%s of %s\t%s\t%s\t%s\t%s\t%s\n", clean(m.Name), cpuText(s.last[m.ID], m),
				bytesText(m.MemRSSKiB<<10), bytesText(m.MemLimitKiB<<10), bytesText(m.DiskOwnBytes), bytesText(m.DiskSharedBytes),
				bytesText(m.ReadBytes), bytesText(m.WrittenBytes), age(m.Since))
		}
	})
}

// cpuText is the CPU between two measurements of a run, in percent of one CPU.
func cpuText(before, now api.Stats) string {
	took := now.At.Sub(before.At)
	if before.ID == "" || now.Since.Sub(before.Since).Abs() > startError || took <= 0 {
		return "-"
	}
	used := time.Duration(now.CPUMillis-before.CPUMillis) * time.Millisecond
	return fmt.Sprintf("%.0f%%", 100*float64(max(used, 0))/float64(took))
}
