package doctor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/api"
	"banger/internal/hint"
	"banger/internal/paths"
	"banger/internal/unixsock"
	"banger/internal/vmm"
)

// host is a host where all is well and nothing of banger is there yet.
type host struct {
	t   *testing.T
	dir string
	env Env
	// found are the drivers of its bangerd.
	found vmm.Drivers
	cut   []string        // repositories in which an apply was cut
	state api.StateReport // what its bangerd finds in the state directory
}

// driver is a driver that found this out.
type driver struct {
	vmm.Driver
	name string
	p    vmm.Probe
}

func (d driver) Name() string                    { return d.name }
func (d driver) Probe(context.Context) vmm.Probe { return d.p }

// finds makes the driver of that name find this out.
func (h *host) finds(name string, p vmm.Probe) {
	p.MaxVCPUs = 32
	for i, d := range h.found {
		if d.Name() == name {
			h.found[i] = driver{name: name, p: p}
		}
	}
}

var (
	noKVM   = "/dev/kvm is missing"
	noneFC  = vmm.Probe{Why: "firecracker is not in PATH"}
	oldFC   = vmm.Probe{Path: "/bin/firecracker", Version: "1.9.1", Why: "firecracker is version \"1.9.1\", 1.10 is needed"}
	idleFC  = vmm.Probe{Path: "/bin/firecracker", Version: "1.16.1", Why: noKVM}
	noQEMU  = vmm.Probe{Why: "qemu-system-x86_64 is not in PATH (Debian: apt-get install qemu-system-x86)"}
	badQEMU = vmm.Probe{Path: "/bin/qemu", Why: "ask /bin/qemu for its version: exit status 3"}
	tcgQEMU = vmm.Probe{Usable: true, Path: "/bin/qemu", Version: "7.2.0", Accel: vmm.AccelTCG, Why: noKVM}
)

func newHost(t *testing.T) *host {
	dir := t.TempDir()
	h := &host{t: t, dir: dir}
	h.env = Env{
		Dirs:       paths.Dirs{State: h.path("home/state"), Cache: h.path("home/cache")},
		Proc:       h.path("proc"),
		Sys:        h.path("sys"),
		KVM:        h.path("kvm"),
		Look:       func(p string) (string, error) { return h.path("bin/" + filepath.Base(p)), nil },
		Version:    "1",
		ProbeKVM:   func(context.Context, string) error { return nil },
		Landlock:   func() (int, error) { return 99, nil },
		Report:     func(context.Context, string) (vmm.Report, error) { return h.found.Report(context.Background()), nil },
		CutApplies: func(context.Context) ([]string, error) { return h.cut, nil },
		State:      func(context.Context, string, bool) (api.StateReport, error) { return h.state, nil },
		FindDaemon: func() (string, error) {
			return h.path("bin/bangerd"), nil
		},
		DaemonVersion: func(context.Context) (string, error) { return "1", nil },
		NamesProblem:  func(context.Context) (string, error) { return "", nil },
		Resolve:       func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil },
	}
	h.file("bin/bangerd", "")
	h.file("bin/banger-agent", "")
	h.file("kvm", "")
	h.file("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu vmx sse\n")
	h.found = vmm.Drivers{
		driver{name: "firecracker", p: vmm.Probe{Usable: true, Path: "/bin/firecracker", Version: "1.16.1", Accel: vmm.AccelKVM, Why: "KVM is real", MaxVCPUs: 32}},
		driver{name: "qemu", p: vmm.Probe{Usable: true, Path: "/bin/qemu", Version: "7.2.0", Accel: vmm.AccelKVM, Why: "KVM is real", MaxVCPUs: 255}},
	}
	h.program("qemu-system-x86_64", "echo QEMU emulator version 7.2.0; echo more")
	h.program("git", "echo git version 2.39.5")
	h.program("firecracker", "echo Firecracker v1.16.1; echo; echo 2026-01-01 log line")
	return h
}

func (h *host) path(name string) string { return filepath.Join(h.dir, name) }

func (h *host) file(name, text string) {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Dir(h.path(name)), 0o700); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.path(name), []byte(text), 0o700); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) program(name, script string) { h.file("bin/"+name, "#!/bin/sh\n"+script+"\n") }

func (h *host) lacks(program string) {
	look := h.env.Look
	h.env.Look = func(p string) (string, error) {
		if filepath.Base(p) == program {
			return "", errors.New("not found")
		}
		return look(p)
	}
}

func TestChecks(t *testing.T) {
	for _, test := range []struct {
		name   string
		spoil  func(h *host)
		check  string
		status Status
		detail string // part of it
		fix    string // likewise
	}{

		{"kvm", nil, "kvm", OK, "opens", ""},
		{"kvm that can't run a kernel", func(h *host) { h.file("proc/cpuinfo", "flags : fpu sse\n") }, "kvm", Warn, "neither vmx nor svm", ""},
		{"vmx flags that KVM adds", func(h *host) { h.file("proc/cpuinfo", "flags : fpu\nvmx flags : vmx\n") }, "kvm", Warn, "neither vmx nor svm", ""},
		{"no cpuinfo", func(h *host) { os.Remove(h.path("proc/cpuinfo")) }, "kvm", Warn, "neither vmx nor svm", ""},
		{"amd", func(h *host) { h.file("proc/cpuinfo", "flags : svm\n") }, "kvm", OK, "opens", ""},
		{"no /dev/kvm", func(h *host) { os.Remove(h.path("kvm")) }, "kvm", Warn, "there is no", "modprobe"},
		{"neither", func(h *host) { os.Remove(h.path("kvm")); h.file("proc/cpuinfo", "") }, "kvm", Warn, "no hardware virtualisation", ""},

		{"kvm that runs no guest", func(h *host) {
			h.env.ProbeKVM = func(context.Context, string) error { return errors.New("KVM_RUN: bad") }
		}, "kvm", Warn, "KVM_RUN: bad", ""},
		{"kvm that nobody can try", func(h *host) { h.env.FindDaemon = func() (string, error) { return "", hint.Add(errors.New("x"), "y") } }, "kvm", OK, "can't be tried", ""},
		{"no rights", func(h *host) { h.env.KVM = "/proc/self/mem/x"; h.env.UID = 1 }, "kvm", Warn, "can't be opened", ""},

		{"metal", nil, "nested", OK, "no virtual machine", ""},
		{"guest", func(h *host) { h.file("proc/cpuinfo", "flags : svm hypervisor\n") }, "nested", OK, "lets it run VMs", ""},
		{"guest without", func(h *host) { h.file("proc/cpuinfo", "flags : hypervisor\n") }, "nested", OK, "itself a virtual machine", ""},
		{"nested", func(h *host) { h.file("sys/module/kvm_amd/parameters/nested", "1\n") }, "nested", OK, "virtualisation again", ""},

		{"confinement", nil, "confinement", OK, "Landlock's ABI 99 and QEMU's own filter", ""},
		{"no landlock", func(h *host) { h.env.Landlock = func() (int, error) { return 0, errors.New("there is none") } }, "confinement", Warn, "there is none: a VMM can open all", ""},
		{"old landlock", func(h *host) { h.env.Landlock = func() (int, error) { return 2, nil } }, "confinement", Warn, "(ABI 2) leaves it to a VMM to empty your files", ""},
		{"landlock of today", func(h *host) { h.env.Landlock = func() (int, error) { return 7, nil }; h.lacks("firecracker") }, "confinement", OK, "Landlock's ABI 7", ""},
		{"and firecracker", func(h *host) { h.env.Landlock = func() (int, error) { return 7, nil } }, "confinement", Warn, "on Firecracker, this kernel's Landlock (ABI 7) leaves it to a VMM to connect to your Unix sockets", ""},
		{"no seccomp", func(h *host) { h.program("qemu-system-x86_64", "[ $1 = --version ] && echo QEMU") }, "confinement", Warn, "without seccomp", ""},
		{"no qemu to confine", func(h *host) { h.lacks("qemu-system-x86_64") }, "confinement", OK, "Landlock", ""},

		{"applies", nil, "applies", OK, "none", ""},
		{"an apply that was cut", func(h *host) { h.cut = []string{"/a", "/b"} }, "applies", Warn, "in /a, /b", "banger doctor --fix"},

		{"qemu", nil, "qemu", OK, "QEMU 7.2.0", ""},
		{"no qemu", func(h *host) { h.finds("firecracker", noneFC); h.finds("qemu", noQEMU) }, "qemu", Fail, "not in PATH", "apt-get install qemu-system-x86"},
		{"only firecracker", func(h *host) { h.finds("qemu", noQEMU) }, "qemu", Warn, "not in PATH", "apt-get install qemu-system-x86"},
		{"broken qemu", func(h *host) { h.finds("firecracker", noneFC); h.finds("qemu", badQEMU) }, "qemu", Fail, "exit status 3", "--reinstall"},
		{"firecracker", nil, "firecracker", OK, "Firecracker 1.16.1", ""},
		{"old firecracker", func(h *host) { h.finds("firecracker", oldFC) }, "firecracker", Warn, "1.10 is needed", "https://"},
		{"no firecracker", func(h *host) { h.finds("firecracker", noneFC) }, "firecracker", Warn, "not in PATH", "https://"},
		{"idle firecracker", func(h *host) { os.Remove(h.path("kvm")); h.finds("firecracker", idleFC) }, "firecracker", OK, "needs KVM", ""},
		{"on Firecracker", nil, "auto", OK, "on firecracker, with KVM", ""},
		{"on QEMU", func(h *host) { h.finds("firecracker", noneFC) }, "auto", OK, "on qemu, with KVM: KVM is real; not firecracker: firecracker is not in PATH", ""},
		{"emulated", func(h *host) { h.finds("firecracker", idleFC); h.finds("qemu", tcgQEMU) }, "auto", OK, "on qemu, which emulates them: " + noKVM, ""},
		{"nothing for auto", func(h *host) { h.finds("firecracker", noneFC); h.finds("qemu", noQEMU) }, "auto", Fail, "no VMM can be used", "apt-get install qemu-system-x86"},
		{"silent bangerd", func(h *host) {
			h.env.Report = func(context.Context, string) (vmm.Report, error) { return vmm.Report{}, errors.New("silence") }
		}, "auto", Warn, "silence", "make build"},

		{"no mmdebstrap", func(h *host) { h.lacks("mmdebstrap") }, "mmdebstrap", Fail, "not in PATH", "apt-get install mmdebstrap"},
		{"no mke2fs", func(h *host) { h.lacks("mke2fs") }, "mke2fs", Fail, "mke2fs", "apt-get install e2fsprogs"},
		{"git", nil, "git", OK, "git 2.39", ""},
		{"no git", func(h *host) { h.lacks("git") }, "git", Warn, "not in PATH", "apt-get install git"},
		{"old git", func(h *host) { h.program("git", "echo git version 2.30.2") }, "git", Warn, "2.38 is needed", "newer git"},
		{"broken git", func(h *host) { h.program("git", "exit 3") }, "git", Warn, "exit status 3", "--reinstall"},

		{"no user namespaces", func(h *host) { h.file("proc/sys/user/max_user_namespaces", "0\n") }, "userns", Fail, "switched off", "sysctl user.max_user_namespaces"},
		{"none for users", func(h *host) { h.env.UID = 1; h.file("proc/sys/kernel/unprivileged_userns_clone", "0\n") }, "userns", Fail, "unprivileged", "sudo sysctl kernel.unprivileged_userns_clone=1"},
		{"none for users, as root", func(h *host) { h.file("proc/sys/kernel/unprivileged_userns_clone", "0\n") }, "userns", OK, "root", ""},

		{"programs", nil, "programs", OK, "banger-agent", ""},
		{"no agent", func(h *host) { os.Remove(h.path("bin/banger-agent")) }, "programs", Fail, "banger-agent", "make build"},
		{"no daemon", func(h *host) {
			h.env.FindDaemon = func() (string, error) { return "", hint.Add(errors.New("there is none"), "make it") }
		}, "programs", Fail, "there is none", "make it"},

		{"fresh", nil, "state", OK, "not there yet", ""},
		{"state is there", func(h *host) { h.file("home/state/x", "") }, "state", OK, "home/state", ""},
		{"state is a file", func(h *host) { h.file("home/state", "") }, "state", Fail, "not a directory", "XDG_STATE_HOME"},
		{"below a file", func(h *host) { h.file("home", "") }, "cache", Fail, "not a directory", "XDG_CACHE_HOME"},
		{"read-only", func(h *host) { h.env.Dirs.Cache = "/proc/sys/x" }, "cache", Fail, "/proc/sys/x can't be made", "XDG_CACHE_HOME"},

		{"no database", nil, "database", OK, "none yet", ""},
		{"database", func(h *host) { h.state.Database = "banger.db"; h.state.VMs = 3 }, "database", OK, "banger.db", ""},
		{"records", func(h *host) { h.state.VMs = 3 }, "records", OK, "3 VMs", ""},
		{"damage", func(h *host) { h.state.Damage = "it is torn"; h.state.Hint = "banger doctor --fix" }, "database", Fail, "torn", "banger doctor --fix"},
		{"no records", func(h *host) { h.state.Lost = []string{"/x: torn"} }, "records", Warn, "/x: torn", "copy"},
		{"bad copies", func(h *host) { h.state.Stale = []string{"a: torn"} }, "records", Warn, "a: torn", "doctor --fix"},
		{"silent state", func(h *host) {
			h.env.State = func(context.Context, string, bool) (api.StateReport, error) {
				return api.StateReport{}, hint.Add(errors.New("silence"), "x")
			}
		}, "records", Warn, "silence", "x"},
		{"no log", nil, "log", OK, "none yet", ""},
		{"log", func(h *host) { h.file("home/state/bangerd.log", "x") }, "log", OK, "bangerd.log", ""},
		{"no log can be", func(h *host) { h.file("home/state", "") }, "log", Fail, "can't be read", "chown"},

		{"no daemon runs", nil, "daemon", OK, "does not run", ""},
		{"daemon", func(h *host) { h.listen() }, "daemon", OK, "bangerd 1 answers", ""},
		{"another daemon", func(h *host) { h.listen(); h.env.Version = "2" }, "daemon", Warn, `version "1", this banger "2"`, "banger daemon stop"},
		{"silent daemon", func(h *host) {
			h.listen()
			h.env.DaemonVersion = func(context.Context) (string, error) { return "", errors.New("silence") }
		}, "daemon", Fail, "silence", "kill"},
		{"dead daemon's socket", func(h *host) { h.listen()() }, "daemon", OK, "does not run", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			if test.spoil != nil {
				test.spoil(h)
			}
			before := h.files()
			for _, r := range Run(t.Context(), h.env) {
				if r.Status != OK && r.Cost == "" || r.Status == Fail && r.Fix == "" {
					t.Errorf("%+v: a lack has a cost, a failure a cure", r)
				}
				if r.Check != test.check {
					continue
				}
				if r.Status != test.status || !strings.Contains(r.Detail, test.detail) || !strings.Contains(r.Fix, test.fix) || (test.fix == "") != (r.Fix == "") {
					t.Errorf("%+v, want %s, a detail with %q and a fix with %q", r, test.status, test.detail, test.fix)
				}
			}
			if after := h.files(); after != before {
				t.Errorf("the checks changed files from\n%s\nto\n%s", before, after)
			}
		})
	}
}

// listen makes the daemon's socket, and returns what closes its listener but
// leaves the file.
func (h *host) listen() func() error {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Dir(h.env.Dirs.Socket()), 0o700); err != nil {
		h.t.Fatal(err)
	}
	l, err := unixsock.Listen(h.env.Dirs.Socket())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { l.Close() })
	return l.Close
}

// files lists all files below the host's directory with their times.
func (h *host) files() string {
	var b strings.Builder
	filepath.Walk(h.dir, func(path string, fi os.FileInfo, err error) error {
		if err == nil {
			b.WriteString(path + " " + fi.ModTime().String() + "\n")
		}
		return nil
	})
	return b.String()
}
