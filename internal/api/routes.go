package api

import "net/http"

// Kind is how a call is answered.
type Kind string

// Kinds of answers.
const (
	Plain  Kind = "plain"  // one JSON value
	Events Kind = "events" // a stream of Event lines with the value last
	Raw    Kind = "raw"    // bytes as they come
)

// Route is one row of the API. {ref} in a path is a name, an id or a unique id
// prefix. The input of GET and DELETE is in the query, that of others in the
// body.
type Route struct {
	Name    string // unique; names the operation in logs
	Method  string
	Path    string
	Kind    Kind
	Summary string
}

// Call is a route with the types of its input and output.
type Call[In, Out any] struct{ *Route }

// None is the type of an input or output that a call does not have.
type None struct{}

// Routes are all rows, in the order of this file.
var Routes []*Route

func row[In, Out any](name, method, path string, kind Kind, summary string) Call[In, Out] {
	r := &Route{name, method, path, kind, summary}
	Routes = append(Routes, r)
	return Call[In, Out]{r}
}

// The API. A new call is one row here, one handler in package daemon (a test
// misses it otherwise) and one method of Client.
var (
	ShowDaemon = row[None, Daemon]("daemon.show", http.MethodGet, "/v1/daemon", Plain, "Show the daemon")
	StopDaemon = row[None, None]("daemon.stop", http.MethodPost, "/v1/daemon/stop", Plain, "Stop the daemon; VMs go on")

	ListVMs   = row[None, []VM]("vm.list", http.MethodGet, "/v1/vms", Plain, "List all VMs, the oldest first")
	CreateVM  = row[Create, VM]("vm.create", http.MethodPost, "/v1/vms", Events, "Make a VM, and start it")
	PruneVMs  = row[Prune, Pruned]("vm.prune", http.MethodPost, "/v1/vms/prune", Events, "Delete the VMs that don't run")
	ShowVM    = row[None, VM]("vm.show", http.MethodGet, "/v1/vms/{ref}", Plain, "Show a VM")
	SetVM     = row[Set, VM]("vm.set", http.MethodPatch, "/v1/vms/{ref}", Events, "Change a VM")
	DeleteVM  = row[Delete, Deleted]("vm.delete", http.MethodDelete, "/v1/vms/{ref}", Events, "Move a VM to the trash")
	StartVM   = row[Start, VM]("vm.start", http.MethodPost, "/v1/vms/{ref}/start", Events, "Start a VM")
	StopVM    = row[Stop, VM]("vm.stop", http.MethodPost, "/v1/vms/{ref}/stop", Events, "Stop a VM, its services first")
	RestartVM = row[Start, VM]("vm.restart", http.MethodPost, "/v1/vms/{ref}/restart", Events, "Stop a VM and start it again")
	KillVM    = row[Kill, VM]("vm.kill", http.MethodPost, "/v1/vms/{ref}/kill", Events, "End a VM's VMM by a signal")
	WaitVM    = row[WaitFor, VM]("vm.wait", http.MethodGet, "/v1/vms/{ref}/wait", Events, "Wait until a VM has a state")
	KeepVM    = row[None, VM]("vm.keep", http.MethodPost, "/v1/vms/{ref}/keep", Plain, "Untie a VM from its session")
	VMSession = row[None, Session]("vm.session", http.MethodGet, "/v1/vms/{ref}/session", Plain, "Find where a running VM's sessions go")
	VMHealth  = row[None, Health]("vm.health", http.MethodGet, "/v1/vms/{ref}/health", Plain, "Ask how a VM is")
	VMStats   = row[None, Stats]("vm.stats", http.MethodGet, "/v1/vms/{ref}/stats", Plain, "Measure what a VM takes of the host")
	VMNetwork = row[NetworkQuery, Network]("vm.network", http.MethodGet, "/v1/vms/{ref}/network", Plain, "Show what a VM may reach")
	VMDenied  = row[NetworkLog, None]("vm.network.log", http.MethodGet, "/v1/vms/{ref}/network/log", Raw, "Read what a VM was denied")
	VMPorts   = row[None, Ports]("vm.ports", http.MethodGet, "/v1/vms/{ref}/ports", Plain, "List what listens in a VM's guest, and what is forwarded to it")
	ForwardVM = row[Forward, Ports]("vm.forward", http.MethodPost, "/v1/vms/{ref}/forward", Plain, "Forward ports of the host to a VM's guest")
	VMLogs    = row[Logs, None]("vm.logs", http.MethodGet, "/v1/vms/{ref}/logs", Raw, "Read a VM's console")

	AddWorkspace = row[WorkspaceAdd, VM]("vm.workspace.add", http.MethodPost, "/v1/vms/{ref}/workspaces", Plain, "Give a VM a workspace that was copied in")
	SaveWork     = row[WorkspaceSave, VM]("vm.workspace.save", http.MethodPost, "/v1/vms/{ref}/workspaces/save", Events, "Save the work in a running VM's workspaces")

	ListImages  = row[None, []Image]("image.list", http.MethodGet, "/v1/images", Plain, "List the base images")
	BuildImage  = row[ImageBuild, Image]("image.build", http.MethodPost, "/v1/images/build", Events, "Build a base image anew")
	ShowImage   = row[None, Image]("image.show", http.MethodGet, "/v1/images/{ref}", Plain, "Show a base image")
	DeleteImage = row[None, Image]("image.delete", http.MethodDelete, "/v1/images/{ref}", Plain, "Remove a base image that no VM uses")
	ListKernels = row[None, []Kernel]("kernel.list", http.MethodGet, "/v1/kernels", Plain, "List the kernels")
	PullKernel  = row[KernelPull, Kernel]("kernel.pull", http.MethodPost, "/v1/kernels/pull", Events, "Get a kernel anew")

	ListTrash    = row[None, []TrashEntry]("trash.list", http.MethodGet, "/v1/trash", Plain, "List the deleted VMs, the newest first")
	EmptyTrash   = row[TrashEmpty, TrashEmptied]("trash.empty", http.MethodPost, "/v1/trash/empty", Plain, "Remove deleted VMs for good")
	RestoreTrash = row[TrashRestore, VM]("trash.restore", http.MethodPost, "/v1/trash/{ref}/restore", Plain, "Take a VM out of the trash")
)
