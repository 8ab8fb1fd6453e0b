package api

import (
	"context"
	"io"
)

// Each is called with every event of a long call, one after the other; nil
// drops them.
type Each func(Event)

// The calls, a method a row of the table. ref is a name, an id or the beginning
// of exactly one id. A *Fault is the daemon's own error; ErrNoDaemon says that
// the request did not reach a daemon. When ctx ends, the daemon sees its caller
// gone.

func (c *Client) ShowDaemon(ctx context.Context) (Daemon, error) {
	return answer(ctx, c, ShowDaemon, "", None{})
}

func (c *Client) StopDaemon(ctx context.Context) error {
	_, err := answer(ctx, c, StopDaemon, "", None{})
	return err
}

func (c *Client) ListVMs(ctx context.Context) ([]VM, error) {
	return answer(ctx, c, ListVMs, "", None{})
}

func (c *Client) CreateVM(ctx context.Context, in Create, each Each) (VM, error) {
	return stream(ctx, c, CreateVM, "", in, each)
}

func (c *Client) PruneVMs(ctx context.Context, in Prune, each Each) (Pruned, error) {
	return stream(ctx, c, PruneVMs, "", in, each)
}

func (c *Client) ShowVM(ctx context.Context, ref string) (VM, error) {
	return answer(ctx, c, ShowVM, ref, None{})
}

func (c *Client) SetVM(ctx context.Context, ref string, in Set, each Each) (VM, error) {
	return stream(ctx, c, SetVM, ref, in, each)
}

func (c *Client) DeleteVM(ctx context.Context, ref string, in Delete, each Each) (Deleted, error) {
	return stream(ctx, c, DeleteVM, ref, in, each)
}

func (c *Client) StartVM(ctx context.Context, ref string, in Start, each Each) (VM, error) {
	return stream(ctx, c, StartVM, ref, in, each)
}

func (c *Client) StopVM(ctx context.Context, ref string, in Stop, each Each) (VM, error) {
	return stream(ctx, c, StopVM, ref, in, each)
}

func (c *Client) RestartVM(ctx context.Context, ref string, in Start, each Each) (VM, error) {
	return stream(ctx, c, RestartVM, ref, in, each)
}

func (c *Client) KillVM(ctx context.Context, ref string, in Kill, each Each) (VM, error) {
	return stream(ctx, c, KillVM, ref, in, each)
}

func (c *Client) WaitVM(ctx context.Context, ref string, in WaitFor, each Each) (VM, error) {
	return stream(ctx, c, WaitVM, ref, in, each)
}

func (c *Client) KeepVM(ctx context.Context, ref string) (VM, error) {
	return answer(ctx, c, KeepVM, ref, None{})
}

func (c *Client) VMSession(ctx context.Context, ref string) (Session, error) {
	return answer(ctx, c, VMSession, ref, None{})
}

func (c *Client) VMHealth(ctx context.Context, ref string) (Health, error) {
	return answer(ctx, c, VMHealth, ref, None{})
}

func (c *Client) Network(ctx context.Context, ref string, q NetworkQuery) (Network, error) {
	return answer(ctx, c, VMNetwork, ref, q)
}

func (c *Client) Ports(ctx context.Context, ref string) (Ports, error) {
	return answer(ctx, c, VMPorts, ref, None{})
}

func (c *Client) Forward(ctx context.Context, ref string, in Forward) (Ports, error) {
	return answer(ctx, c, ForwardVM, ref, in)
}

func (c *Client) VMStats(ctx context.Context, ref string) (Stats, error) {
	return answer(ctx, c, VMStats, ref, None{})
}

// VMLogs copies the console's bytes to w as they come.
func (c *Client) VMLogs(ctx context.Context, ref string, in Logs, w io.Writer) error {
	return raw(ctx, c, VMLogs, ref, in, w)
}

// NetworkLog copies what the VM was denied to w, a NetworkEvent a line.
func (c *Client) NetworkLog(ctx context.Context, ref string, in NetworkLog, w io.Writer) error {
	return raw(ctx, c, VMDenied, ref, in, w)
}

func (c *Client) AddWorkspace(ctx context.Context, ref string, in WorkspaceAdd) (VM, error) {
	return answer(ctx, c, AddWorkspace, ref, in)
}

func (c *Client) SaveWork(ctx context.Context, ref string, in WorkspaceSave, each Each) (VM, error) {
	return stream(ctx, c, SaveWork, ref, in, each)
}

func (c *Client) ListImages(ctx context.Context) ([]Image, error) {
	return answer(ctx, c, ListImages, "", None{})
}

func (c *Client) BuildImage(ctx context.Context, in ImageBuild, each Each) (Image, error) {
	return stream(ctx, c, BuildImage, "", in, each)
}

func (c *Client) ShowImage(ctx context.Context, ref string) (Image, error) {
	return answer(ctx, c, ShowImage, ref, None{})
}

func (c *Client) DeleteImage(ctx context.Context, ref string) (Image, error) {
	return answer(ctx, c, DeleteImage, ref, None{})
}

func (c *Client) ListKernels(ctx context.Context) ([]Kernel, error) {
	return answer(ctx, c, ListKernels, "", None{})
}

func (c *Client) PullKernel(ctx context.Context, in KernelPull, each Each) (Kernel, error) {
	return stream(ctx, c, PullKernel, "", in, each)
}

func (c *Client) ListTrash(ctx context.Context) ([]TrashEntry, error) {
	return answer(ctx, c, ListTrash, "", None{})
}

func (c *Client) EmptyTrash(ctx context.Context, in TrashEmpty) (TrashEmptied, error) {
	return answer(ctx, c, EmptyTrash, "", in)
}

func (c *Client) RestoreTrash(ctx context.Context, ref string, in TrashRestore) (VM, error) {
	return answer(ctx, c, RestoreTrash, ref, in)
}
