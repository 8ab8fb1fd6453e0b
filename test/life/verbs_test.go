//go:build standin

package life

import (
	"context"
	"os"
	"time"

	"banger/internal/api"
	"banger/internal/vm"
)

// verbCase is a verb on VM a: what it finds, and what may be true of a
// afterwards, whatever went wrong on the way. A fault is an answer that the verb
// may give, or none.
type verbCase struct {
	name string
	// before is a's state when the verb begins; "gone" is none, "trash" is in the
	// trash.
	before vm.State
	// behaviour is the stand-in's.
	behaviour string
	// workspace says that a has a workspace, with an edit in it; a VM that does not run
	// was killed then.
	workspace bool
	// spoil is what happened while no daemon ran.
	spoil func(w *world)
	do    func(ctx context.Context, c *api.Client) error
	after []vm.State
}

const (
	gone  vm.State = "gone"
	trash vm.State = "trash"
)

var verbCases = []verbCase{
	{name: "create", before: gone, after: []vm.State{gone, vm.Created}, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.CreateVM(ctx, api.Create{Name: "a", Spec: small()}, nil)
		return err
	}},
	{name: "run", before: gone, after: []vm.State{gone, vm.Created, vm.Running, vm.Error, vm.Stopped}, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.CreateVM(ctx, api.Create{Name: "a", Spec: small(), Start: true, Force: true}, nil)
		return err
	}},
	{name: "start", before: vm.Stopped, after: []vm.State{vm.Stopped, vm.Running, vm.Error}, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.StartVM(ctx, "a", api.Start{Force: true}, nil)
		return err
	}},
	{name: "stop", before: vm.Running, after: []vm.State{vm.Running, vm.Stopped}, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.StopVM(ctx, "a", api.Stop{}, nil)
		return err
	}},
	{name: "restart", before: vm.Running, after: []vm.State{vm.Running, vm.Stopped, vm.Error}, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.RestartVM(ctx, "a", api.Start{Force: true}, nil)
		return err
	}},
	{name: "kill", before: vm.Running, after: []vm.State{vm.Running, vm.Stopped}, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.KillVM(ctx, "a", api.Kill{}, nil)
		return err
	}},
	{name: "kill TERM", before: vm.Running, after: []vm.State{vm.Running, vm.Stopped}, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.KillVM(ctx, "a", api.Kill{Signal: "TERM"}, nil)
		return err
	}},
	{name: "delete", before: vm.Stopped, after: []vm.State{vm.Stopped, trash}, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.DeleteVM(ctx, "a", api.Delete{}, nil)
		return err
	}},
	{name: "delete -f", before: vm.Running, after: []vm.State{vm.Running, vm.Stopped, trash}, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.DeleteVM(ctx, "a", api.Delete{Force: true}, nil)
		return err
	}},
	{name: "delete --discard", before: vm.Stopped, after: []vm.State{vm.Stopped, gone}, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.DeleteVM(ctx, "a", api.Delete{Discard: true}, nil)
		return err
	}},
	{name: "set", before: vm.Stopped, after: []vm.State{vm.Stopped}, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.SetVM(ctx, "a", api.Set{MemMiB: 256}, nil)
		return err
	}},
	{name: "set --disk-size", before: vm.Running, after: []vm.State{vm.Running}, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.SetVM(ctx, "a", api.Set{DiskMiB: 10 << 10}, nil)
		return err
	}},
	{name: "keep", before: vm.Running, after: []vm.State{vm.Running}, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.KeepVM(ctx, "a")
		return err
	}},
	{name: "prune", before: vm.Stopped, after: []vm.State{vm.Stopped, trash}, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.PruneVMs(ctx, api.Prune{}, nil)
		return err
	}},
	{name: "trash restore", before: trash, after: []vm.State{vm.Stopped, trash}, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.RestoreTrash(ctx, "a", api.TrashRestore{})
		return err
	}},
	{name: "trash empty", before: trash, after: []vm.State{trash, gone}, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.EmptyTrash(ctx, api.TrashEmpty{})
		return err
	}},
	{name: "workspace prepare", before: vm.Running, after: []vm.State{vm.Running}, do: giveWorkspace},
	{name: "save", before: vm.Running, workspace: true, after: []vm.State{vm.Running}, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.SaveWork(ctx, "a", api.WorkspaceSave{}, nil)
		return err
	}},
	{name: "save of a killed VM", before: vm.Stopped, workspace: true, after: []vm.State{vm.Stopped, vm.Error}, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.SaveWork(ctx, "a", api.WorkspaceSave{}, nil)
		return err
	}},
	{name: "stop with work", before: vm.Running, workspace: true, after: []vm.State{vm.Running, vm.Stopped}, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.StopVM(ctx, "a", api.Stop{}, nil)
		return err
	}},
	{name: "delete -f with work", before: vm.Running, workspace: true, after: []vm.State{vm.Running, vm.Stopped, trash}, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.DeleteVM(ctx, "a", api.Delete{Force: true}, nil)
		return err
	}},
	{name: "start, much on the console", before: vm.Stopped, after: []vm.State{vm.Stopped, vm.Running, vm.Error}, behaviour: `{"console_bytes": 9000000}`, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.StartVM(ctx, "a", api.Start{Force: true}, nil)
		return err
	}},
	{name: "swept sockets", before: vm.Running, after: []vm.State{vm.Running}, do: func(ctx context.Context, c *api.Client) error {
		v, err := c.ShowVM(ctx, "a")
		if err != nil {
			return err
		}
		if err := os.Remove(v.Session.Socket); err != nil {
			return err
		}
		for begin := time.Now(); ctx.Err() == nil; {
			if v, err := c.ShowVM(ctx, "a"); err != nil || v.State != vm.Running || time.Since(begin) > 10*time.Second {
				return err
			}
			if _, err := os.Lstat(v.Session.Socket); err == nil {
				return nil
			}
			time.Sleep(20 * time.Millisecond)
		}
		return ctx.Err()
	}},
	{name: "daemon start", before: vm.Stopped, after: []vm.State{vm.Stopped}, spoil: spoil, do: func(ctx context.Context, c *api.Client) error {
		_, err := c.ListVMs(ctx)
		return err
	}},
}
