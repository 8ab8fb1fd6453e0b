package daemon

import (
	"context"

	"banger/internal/api"
	"banger/internal/instance"
	"banger/internal/progress"
	"banger/internal/vm"
)

func (d *Daemon) addWorkspace(ctx context.Context, r request, in api.WorkspaceAdd) (api.VM, error) {
	return d.on(r, func(i *instance.Instance) error {
		return i.AddWorkspace(ctx, vm.Workspace{GuestPath: in.GuestPath, Repository: in.Repository}, in.Staged)
	})
}

func (d *Daemon) saveWork(ctx context.Context, r request, in api.WorkspaceSave, step progress.Func) (api.VM, error) {
	return d.on(r, func(i *instance.Instance) error { return i.SaveWork(ctx, in.GuestPaths, step) })
}
