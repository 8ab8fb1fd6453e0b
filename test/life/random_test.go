//go:build standin

package life

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"banger/internal/api"
	"banger/internal/vm"
)

var rounds = flag.Int("rounds", 200, "rounds of TestRandom")

const keepers = 2

// TestRandom has eight workers do verbs on five VMs, while the daemon, supervisors
// and VMMs are killed and held, files are swept away, and commands and daemons get
// another environment. Two VMs that nobody
// asked to end must live through all of it, and what is left must fit together.
func TestRandom(t *testing.T) {
	t.Parallel()
	r := random(t)
	w := newWorld(t)
	w.mustStart()
	var kept []api.VM
	for n := range keepers {
		kept = append(kept, w.create(fmt.Sprintf("keeper-%d", n), true))
	}
	repo, err := repository()
	if err == nil {
		err = os.Rename(repo, filepath.Join(w.dir, "repo"))
	}
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for round := range *rounds {
		var wg sync.WaitGroup
		for range 8 {
			name, verb := fmt.Sprintf("vm-%d", r.IntN(5)), randomVerbs[r.IntN(len(randomVerbs))]
			wait := time.Duration(r.IntN(30)) * time.Millisecond
			var typed []string // a command, instead
			var env []string
			if r.IntN(6) == 0 {
				typed = append(slices.Clone(randomCommands[r.IntN(len(randomCommands))]), name)
				env = w.environment(r)
			}
			wg.Go(func() {
				time.Sleep(wait)
				if typed != nil {
					w.typed(env, typed)
					return
				}
				ctx, cancel := context.WithTimeout(t.Context(), generous)
				defer cancel()
				err := verb(ctx, api.NewClient(filepath.Join(w.state(), "bangerd.sock")), name)
				if errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("round %d: a verb on %s has no answer, the daemon is at\n%s", round, name, w.stacks())
				}
			})
		}
		time.Sleep(time.Duration(r.IntN(40)) * time.Millisecond)
		counts[w.mishap(r)]++
		wg.Wait()
		if round%20 == 19 {
			w.check()
		}
		if t.Failed() {
			return
		}
	}
	w.check()
	for _, k := range kept {
		if now := w.show(k.Name); now == nil || now.BootID != k.BootID || now.State != vm.Running {
			t.Errorf("a run that nobody ended was ended: it is %+v", now)
		} else if text := w.hasRunSince(k); text != "" {
			t.Error(text)
		}
	}
	t.Logf("figures: %d rounds with %v, 0 of %d runs ended that nobody ended", *rounds, counts, keepers)
}

// randomCommands are what is typed, without the VM.
var randomCommands = [][]string{
	{"vm", "show", "--json"}, {"vm", "start", "--force"}, {"vm", "stop"}, {"vm", "kill"}, {"vm", "delete", "-f"}, {"vm", "health"},
	{"vm", "workspace", "prepare", "-q", "--force"}, {"vm", "workspace", "export", "-q"}, {"apply", "--yes", "-q"},
}

// environment is one in which a command finds the same state directory, though
// all else is another's, or a daemon is started.
func (w *world) environment(r *rand.Rand) []string {
	link := filepath.Join(w.dir, "link")
	os.Symlink(filepath.Join(w.dir, "s"), link) // the first time
	all := [][]string{
		{"XDG_STATE_HOME=" + link},
		{"HOME=/nonexistent"},
		{"HOME="},
		{"XDG_RUNTIME_DIR=/nonexistent"},
		{"XDG_RUNTIME_DIR=", "TMPDIR=/nonexistent"},
		{"XDG_RUNTIME_DIR=" + w.dir + "/s"},
		{"XDG_CACHE_HOME=" + w.dir + "/other", "XDG_CONFIG_HOME=" + w.dir + "/other"},
		{"PATH="},
	}
	return all[r.IntN(len(all))]
}

// typed runs a command in an environment of its own. It may fail, and must end.
func (w *world) typed(env, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), generous)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(w.bin, "banger"), args...)
	cmd.Env = append(append([]string{"BANGER_NO_AUTOSTART=1"}, w.env...), env...)
	cmd.Dir = filepath.Join(w.dir, "repo") // what a workspace is made of
	out, _ := cmd.CombinedOutput()
	if ctx.Err() != nil {
		w.t.Errorf("%v has no answer: %s\nthe daemon is at\n%s", args, out, w.stacks())
	}
}

// hasRunSince reports whether a VM's VMM is another one than it was.
func (w *world) hasRunSince(k api.VM) string {
	if now := w.show(k.Name); now.VMM.PID != k.VMM.PID {
		return fmt.Sprintf("%s has VMM %d, had %d", k.Name, now.VMM.PID, k.VMM.PID)
	}
	return ""
}

var randomVerbs = []func(context.Context, *api.Client, string) error{
	func(ctx context.Context, c *api.Client, n string) error {
		_, err := c.CreateVM(ctx, api.Create{Name: n, Spec: small(), Start: true, Force: true}, nil)
		return err
	},
	func(ctx context.Context, c *api.Client, n string) error {
		_, err := c.CreateVM(ctx, api.Create{Name: n, Spec: small()}, nil)
		return err
	},
	func(ctx context.Context, c *api.Client, n string) error {
		_, err := c.StartVM(ctx, n, api.Start{Force: true}, nil)
		return err
	},
	func(ctx context.Context, c *api.Client, n string) error {
		_, err := c.StopVM(ctx, n, api.Stop{}, nil)
		return err
	},
	func(ctx context.Context, c *api.Client, n string) error {
		_, err := c.RestartVM(ctx, n, api.Start{Force: true}, nil)
		return err
	},
	func(ctx context.Context, c *api.Client, n string) error {
		_, err := c.KillVM(ctx, n, api.Kill{Signal: "TERM"}, nil)
		return err
	},
	func(ctx context.Context, c *api.Client, n string) error {
		_, err := c.DeleteVM(ctx, n, api.Delete{Force: true}, nil)
		return err
	},
	func(ctx context.Context, c *api.Client, n string) error {
		_, err := c.SetVM(ctx, n, api.Set{MemMiB: 128 + int64(time.Now().Nanosecond()%8)}, nil)
		return err
	},
	func(ctx context.Context, c *api.Client, n string) error {
		_, err := c.PruneVMs(ctx, api.Prune{}, nil)
		return err
	},
	func(ctx context.Context, c *api.Client, n string) error {
		_, err := c.RestoreTrash(ctx, n, api.TrashRestore{})
		return err
	},
	func(ctx context.Context, c *api.Client, n string) error { // a caller that gives up
		ctx, cancel := context.WithTimeout(ctx, 15*time.Millisecond)
		defer cancel()
		if _, err := c.StartVM(ctx, n, api.Start{Force: true}, nil); !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		return nil
	},
}

// signal sends a signal to a process of this world whose arguments have of. A number
// that was listed may be another process's by now, the daemon's even.
func (w *world) signal(pid int, of string, sig syscall.Signal) {
	args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if strings.Contains(string(args), of) {
		syscall.Kill(pid, sig)
	}
}

// mishap is one thing that goes wrong, and is over when it returns.
func (w *world) mishap(r *rand.Rand) string {
	c := api.NewClient(filepath.Join(w.state(), "bangerd.sock"))
	list, err := c.ListVMs(w.ctx())
	if err != nil {
		w.t.Errorf("list: %v; %s", err, w.whereabouts())
		return "none"
	}
	var victims []api.VM
	for _, v := range list {
		if v.Name[0] != 'k' && v.Supervisor != nil {
			victims = append(victims, v)
		}
	}
	hold := func(pid int, of string) {
		w.signal(pid, of, syscall.SIGSTOP)
		time.Sleep(time.Duration(r.IntN(1000)) * time.Millisecond)
		w.signal(pid, of, syscall.SIGCONT)
	}
	switch n := r.IntN(8); {
	case n < 3:
		w.kill9()
		if err := w.start(w.environment(r)...); err != nil {
			w.t.Error(err)
		}
		return "daemon killed"
	case n == 3 && len(victims) > 0:
		v := victims[r.IntN(len(victims))]
		w.signal(v.Supervisor.PID, string(v.ID), syscall.SIGKILL)
		return "supervisor killed"
	case n == 4 && len(victims) > 0:
		if v := victims[r.IntN(len(victims))]; v.VMM != nil && v.VMM.PID > 0 {
			w.signal(v.VMM.PID, string(v.ID), syscall.SIGKILL)
		}
		return "VMM killed"
	case n == 5:
		if v := list[r.IntN(len(list))]; v.Supervisor != nil {
			hold(v.Supervisor.PID, string(v.ID))
		}
		return "supervisor held"
	case n == 6:
		hold(w.daemon.Process.Pid, "serve")
		return "daemon held"
	default:
		os.Remove(filepath.Join(w.state(), "bangerd.sock"))
		os.RemoveAll(filepath.Join(w.dir, "c"))
		w.eventually(func() string {
			if _, err := api.NewClient(filepath.Join(w.state(), "bangerd.sock")).ShowDaemon(w.ctx()); err != nil {
				return err.Error()
			}
			return ""
		})
		return "swept"
	}
}
