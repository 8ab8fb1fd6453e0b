//go:build standin

package life

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/api"
	"banger/internal/vm"
)

// census looks at processes, files, sockets, locks, rows and trash, and returns
// what does not fit together; "" when all does.
func (w *world) census() string {
	var wrong []string
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	list, err := w.client.ListVMs(w.ctx())
	if err != nil {
		return fmt.Sprintf("list: %v", err)
	}
	expected := map[int]string{w.daemon.Process.Pid: "the daemon"}
	rows := map[string]bool{}
	for _, v := range list {
		rows[string(v.ID)] = true
		w.countVM(v, expected, add)
	}
	for pid, cmdline := range w.processes() {
		// A stand-in's guest is a child of its VMM.
		if expected[pid] == "" && expected[parent(pid)] == "" {
			add("process %d has no owner: %s", pid, cmdline)
		}
	}
	for _, dir := range names(filepath.Join(w.state(), "vms")) {
		if vm.CheckID(dir) == nil && !rows[dir] {
			add("directory %s has no row", dir)
		}
	}
	w.countFiles(add)
	slices.Sort(wrong)
	return strings.Join(wrong, "\n")
}

// countVM holds one VM's processes, lock, socket and files against its row.
func (w *world) countVM(v api.VM, expected map[int]string, add func(string, ...any)) {
	dir := w.vmDir(v.ID)
	var rec vm.Record
	if text, err := os.ReadFile(filepath.Join(dir, "vm.json")); err != nil || json.Unmarshal(text, &rec) != nil {
		add("%s: vm.json: %v", v.Name, err)
	} else if rec.State != v.State || rec.Spec.Name != v.Name {
		add("%s: vm.json says %s %s, the daemon %s", v.Name, rec.Spec.Name, rec.State, v.State)
	}
	if _, err := os.Stat(filepath.Join(dir, "disk")); err != nil {
		add("%s: its disk: %v", v.Name, err)
	}
	if v.NotRecorded != "" || !v.SilentSince.IsZero() || v.Operation != "" {
		add("%s: not settled: %+v", v.Name, v)
	}
	held := isLocked(filepath.Join(dir, "run.lock"))
	switch v.State {
	case vm.Running:
		if v.VMM == nil || v.Supervisor == nil || v.VMM.PID == 0 {
			add("%s runs without processes: %+v", v.Name, v)
			return
		}
		expected[v.VMM.PID], expected[v.Supervisor.PID] = v.Name, v.Name
		for _, pid := range []int{v.VMM.PID, v.Supervisor.PID} {
			if syscall.Kill(pid, 0) != nil {
				add("%s: process %d is gone", v.Name, pid)
			}
		}
		if !held {
			add("%s runs and its lock is free", v.Name)
		}
		if h, err := w.client.VMHealth(w.ctx(), string(v.ID)); err != nil || !h.Healthy {
			add("%s is not well: %+v, %v", v.Name, h, err)
		}
	case vm.Created, vm.Stopped, vm.Error:
		if held {
			add("%s is %s and its lock is held", v.Name, v.State)
		}
		if _, err := os.Lstat(filepath.Join(dir, "run")); err == nil {
			add("%s is %s and has sockets", v.Name, v.State)
		}
	default:
		add("%s is %s", v.Name, v.State)
	}
}

// stateFiles are all that a state directory may hold.
var stateFiles = []string{"bangerd.sock", "bangerd.lock", "bangerd.log", "bangerd.log.1", "banger.db", "banger.db-wal", "banger.db-shm", "ballast", "vms", "trash", "base", "work", "ssh"}

// vmFiles are all that a VM's directory may hold.
var vmFiles = []string{"vm.json", "disk", "run", "run.lock", "run.json", "launch.json", "supervisor.log", "console.log", "console.log.1", "guest", "standin.json", "vmm.log", "ssh_host_key", "environment"}

// keptMetadata begins the names of what repairs of its disk keep.
const keptMetadata = "disk-metadata-"

func (w *world) countFiles(add func(string, ...any)) {
	for _, name := range names(w.state()) {
		if !slices.Contains(stateFiles, name) {
			add("file %s in the state directory", name)
		}
	}
	for _, id := range names(filepath.Join(w.state(), "vms")) {
		if id == "standin.json" {
			continue
		}
		for _, name := range names(filepath.Join(w.state(), "vms", id)) {
			if !slices.Contains(vmFiles, name) && !strings.HasPrefix(name, keptMetadata) {
				add("file %s of VM %s", name, id)
			}
		}
	}
	for _, name := range names(filepath.Join(w.state(), "work")) {
		if id, _, _ := strings.Cut(name, "-"); vm.CheckID(id) != nil {
			add("%s is left in the saved work", name)
		} else if _, err := os.Stat(filepath.Join(w.state(), "work", name, "workspace.json")); err != nil {
			add("the saved work %s: %v", name, err)
		}
	}
	entries, err := w.client.ListTrash(w.ctx())
	if err != nil {
		add("trash: %v", err)
	}
	if dirs := slices.DeleteFunc(names(filepath.Join(w.state(), "trash")), func(n string) bool { return n == "clock.json" }); len(dirs) != len(entries) {
		add("the trash has %q and lists %d entries", dirs, len(entries))
	}
}

func names(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func isLocked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil {
		return true
	}
	unix.Flock(int(f.Fd()), unix.LOCK_UN)
	return false
}

// parent is the parent's pid; 0 if it can't be told.
func parent(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	var ppid int
	var state string
	if i := strings.LastIndexByte(string(text), ')'); i >= 0 {
		fmt.Sscan(string(text[i+1:]), &state, &ppid)
	}
	return ppid
}
