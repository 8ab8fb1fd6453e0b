// Package doctor holds the checks of a host, as data: what banger needs, what
// each lack costs, and the line that mends it. The checks change nothing and start
// nothing but programs' --version, bangerd's answers and a probe of KVM.
package doctor

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strings"

	"banger/internal/api"
	"banger/internal/kvm"
	"banger/internal/landlock"
	"banger/internal/paths"
	"banger/internal/vmm"
)

// Status is a check's outcome.
type Status string

// The outcomes.
const (
	OK   Status = "ok"
	Warn Status = "warn" // banger works, but not as well as it could
	Fail Status = "fail" // banger can't do its work
)

// Result is one check's outcome.
type Result struct {
	Check  string `json:"check"`
	Status Status `json:"status"`
	Detail string `json:"detail"`         // what was found
	Cost   string `json:"cost,omitempty"` // what the lack costs
	Fix    string `json:"fix,omitempty"`  // the line to type
}

// Env is the host as the checks see it.
type Env struct {
	Dirs paths.Dirs
	UID  int
	Proc string                       // /proc
	Sys  string                       // /sys
	KVM  string                       // /dev/kvm
	Look func(string) (string, error) // finds a program, as exec.LookPath
	// ProbeKVM runs a guest, as kvm.Probe; Landlock is landlock.Version.
	ProbeKVM func(ctx context.Context, program string) error
	Landlock func() (int, error)
	// Report asks a bangerd what its drivers find on this host.
	Report func(ctx context.Context, program string) (vmm.Report, error)
	// State asks a bangerd how the VMs' records are, and with fix to mend them.
	State func(ctx context.Context, program string, fix bool) (api.StateReport, error)
	// CutApplies lists the repositories in which an apply was cut.
	CutApplies func(context.Context) ([]string, error)
	// Version is this program's. FindDaemon says where its bangerd lies, and
	// DaemonVersion what the one that runs says of itself.
	Version       string
	FindDaemon    func() (string, error)
	DaemonVersion func(context.Context) (string, error)
	// NamesProblem is why the daemon that runs does not answer names of VMs; "" if it does.
	NamesProblem func(context.Context) (string, error)
	// Resolve asks this host's resolver for a name; Etc is /etc.
	Resolve func(ctx context.Context, name string) ([]string, error)
	Etc     string

	vmms func() (vmm.Report, error) // Report's answer; set by Run
}

// Host is this host, without what the caller knows of the daemon.
func Host(d paths.Dirs) Env {
	return Env{Dirs: d, UID: os.Getuid(), Proc: "/proc", Sys: "/sys", Etc: "/etc", Resolve: net.DefaultResolver.LookupHost, KVM: kvm.Device, Look: exec.LookPath,
		ProbeKVM: kvm.Probe, Landlock: landlock.Version, Report: askReport, State: askState}
}

// sudo is a line that only root can type.
func (e Env) sudo(line string) string {
	if e.UID == 0 {
		return line
	}
	return "sudo " + line
}

// asUser is a line with sudo in it, which root types without.
func (e Env) asUser(line string) string {
	if e.UID == 0 {
		return strings.ReplaceAll(line, "sudo ", "")
	}
	return line
}

// check is one thing to look at.
type check struct {
	name string
	run  func(context.Context, Env) Result
}

// checks are all, in the order in which they are shown.
var checks = []check{
	{"qemu", checkQEMU},
	{"kvm", checkKVM},
	{"firecracker", checkFirecracker},
	{"nested", checkNested},
	{"confinement", checkConfinement},
	{"mmdebstrap", checkMmdebstrap},
	{"userns", checkUserNamespaces},
	{"keyring", checkKeyring},
	{"mke2fs", checkMke2fs},
	{"git", checkGit},
	{"programs", checkPrograms},
	{"state", checkState},
	{"cache", checkCache},
	{"space", checkSpace},
	{"database", checkDatabase},
	{"records", checkRecords},
	{"applies", checkApplies},
	{"log", checkLog},
	{"daemon", checkDaemon},
	{"names", checkNames},
}

// Run runs all checks, one after the other.
func Run(ctx context.Context, e Env) []Result {
	e.vmms = e.report(ctx)
	var out []Result
	for _, c := range checks {
		r := c.run(ctx, e)
		r.Check = c.name
		out = append(out, r)
	}
	return judge(e, out)
}
