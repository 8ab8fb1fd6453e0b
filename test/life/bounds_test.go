//go:build standin

package life

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/api"
	"banger/internal/vm"
	"banger/internal/workspace"
)

// configure writes the user's config.toml.
func (w *world) configure(text string) {
	w.t.Helper()
	dir := filepath.Join(w.dir, ".config", "banger")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// createWithWork makes VM a, which runs and has a workspace.
func (w *world) createWithWork() api.VM {
	w.t.Helper()
	v := w.create("a", true)
	if err := giveWorkspace(w.ctx(), w.client); err != nil {
		w.t.Fatal(err)
	}
	return v
}

// write puts a file of so many bytes that don't compress into VM v's workspace.
func (w *world) writeMuch(v api.VM, name string, kib int) {
	w.t.Helper()
	out, err := exec.Command("sh", "-c", fmt.Sprintf("head -c %dK /dev/urandom >'%s'", kib, filepath.Join(w.vmDir(v.ID), "guest", "repo", name))).CombinedOutput()
	if err != nil {
		w.t.Fatalf("%v\n%s", err, out)
	}
}

// stopTelling stops VM a, and returns the VM and what the user was told.
func (w *world) stopTelling() (v api.VM, told string) {
	w.t.Helper()
	var notices []string
	v, err := w.client.StopVM(w.ctx(), "a", api.Stop{}, func(e api.Event) {
		if e.Notice != "" {
			notices = append(notices, e.Notice)
		}
	})
	if err != nil || v.State != vm.Stopped {
		w.t.Fatalf("stop: %s, %v", v.State, err)
	}
	return v, strings.Join(notices, "\n")
}

func (w *world) startA() {
	w.t.Helper()
	if _, err := w.client.StartVM(w.ctx(), "a", api.Start{Force: true}, nil); err != nil {
		w.t.Fatal(err)
	}
}

// run runs a banger command that must end well.
func (w *world) run(args ...string) (out, errs string) {
	w.t.Helper()
	cmd := w.command(args...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	if err := cmd.Run(); err != nil {
		w.t.Fatalf("banger %q: %v\n%s%s", args, err, &o, &e)
	}
	return o.String(), e.String()
}

// A save over a bound is "not saved", with both figures and what to type: the VM keeps its
// disk, what was saved before stays, and the work comes out through memory. With more room
// it is saved.
func TestSavedBounds(t *testing.T) {
	t.Parallel()
	for key, says := range map[string]string{"saved_max_per_vm": "kept of this VM's takes", "saved_max_total": "kept of all VMs' takes"} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.configure(key + " = \"1M\"\n")
			w.mustStart()
			v := w.createWithWork()
			w.edit(v)
			v, told := w.stopTelling()
			if v.NotSaved != "" || told != "" {
				t.Errorf("a small work: not saved: %q; told: %q", v.NotSaved, told)
			}
			before := w.savedWork(v)

			w.startA()
			w.writeMuch(v, "large", 2048)
			_, errs := w.run("saved", "list")
			if strings.Contains(errs, "not saved") {
				t.Errorf("saved list, of a VM that runs: %s", errs)
			}
			patch, errs := w.run("vm", "workspace", "export", "a", "--name-only")
			if patch != "large\nnew\n" || !strings.Contains(errs, "not saved") || !strings.Contains(errs, "kept nowhere else") {
				t.Errorf("export over the bound: %q\n%s", patch, errs)
			}
			v, told = w.stopTelling()
			for _, want := range []string{says, "may take 1 MiB", key, "banger saved drop"} {
				if !strings.Contains(v.NotSaved, want) || !strings.Contains(told, want) {
					t.Errorf("over the bound: not saved: %q; told: %q; want %q", v.NotSaved, told, want)
				}
			}
			if now := w.savedWork(v); now.Tree != before.Tree {
				t.Errorf("the work that was saved is %+v, was %+v", now, before)
			}
			if fi, err := os.Stat(filepath.Join(w.vmDir(v.ID), "guest", "repo", "large")); err != nil || fi.Size() != 2<<20 {
				t.Errorf("what was not saved is gone from the VM: %v", err)
			}
			out, errs := w.run("saved", "list")
			if !strings.Contains(out, "KiB") || !strings.Contains(errs, "are taken") || !strings.Contains(errs, "not saved: the work in VM a; banger diff a saves it") {
				t.Errorf("saved list:\n%s%s", out, errs)
			}

			w.configure(key + " = \"3M\"\n")
			w.startA()
			v, told = w.stopTelling()
			if v.NotSaved != "" || w.savedWork(v).Files != 2 {
				t.Errorf("with more room: not saved: %q, %+v", v.NotSaved, w.savedWork(v))
			}
			if warned := strings.Contains(told, "of the 3 MiB that it may"); warned {
				t.Errorf("with a third of the room left: %q", told)
			}
			if key == "saved_max_total" {
				w.startA()
				w.writeMuch(v, "more", 512)
				if _, told = w.stopTelling(); !strings.Contains(told, "of the 3 MiB that it may") {
					t.Errorf("with more than 80 %% of the room taken: %q", told)
				}
			}
			w.check()
		})
	}
}

// savedWork is the work that is saved of VM v's only workspace.
func (w *world) savedWork(v api.VM) workspace.Work {
	w.t.Helper()
	if len(v.Workspaces) != 1 {
		w.t.Fatalf("workspaces: %+v", v.Workspaces)
	}
	work, err := workspace.Store{Dir: v.Workspaces[0].Dir}.Work()
	if err != nil {
		w.t.Fatal(err)
	}
	return work
}

// While many VMs have work that was not saved, no new one is made. Each of them stays
// until it was saved, or given up by name.
func TestUnsavedPileUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("unsaved_max = 2\n")
	w.mustStart()
	lose := func() api.VM {
		v := w.createWithWork()
		w.edit(v)
		if _, err := w.client.KillVM(w.ctx(), "a", api.Kill{}, nil); err != nil {
			t.Fatal(err)
		}
		return v
	}
	first := lose()
	if _, err := w.client.DeleteVM(w.ctx(), "a", api.Delete{}, nil); err != nil {
		t.Fatal(err)
	}
	lose()
	_, err := w.client.CreateVM(w.ctx(), api.Create{Name: "b", Spec: small()}, nil)
	if code(err) != api.CodeNoSpace || !strings.Contains(err.Error(), "2 VMs have work that was not saved") || !strings.Contains(err.Error(), "a (deleted)") {
		t.Errorf("a new VM beside two that were not saved: %v", err)
	}
	if f := new(api.Fault); !errors.As(err, &f) || !strings.Contains(f.Hint, "banger saved list") {
		t.Errorf("its hint: %+v", f)
	}
	_, errs := w.run("saved", "list")
	for _, want := range []string{"not saved: the work in VM a; banger diff a saves it", "not saved: the work in the deleted VM a; banger trash restore a"} {
		if !strings.Contains(errs, want) {
			t.Errorf("saved list: %s; want %q", errs, want)
		}
	}

	// Its work is saved: it counts no more.
	w.startA()
	if v, _ := w.stopTelling(); v.NotSaved != "" {
		t.Errorf("saved: %q", v.NotSaved)
	}
	w.create("b", false)

	// The one in the trash stays until it is named, whatever is emptied.
	out, errs := w.run("trash", "empty")
	if !strings.HasPrefix(out, "0 removed") || !strings.Contains(errs, "a is kept, because work in it was not saved") || !strings.Contains(errs, "banger trash empty a") {
		t.Errorf("trash empty:\n%s%s", out, errs)
	}
	list, err := w.client.ListTrash(w.ctx())
	if err != nil || len(list) != 1 || list[0].ID != first.ID || list[0].NotSaved == "" {
		t.Fatalf("the trash has %+v, %v", list, err)
	}
	if text := w.isKept(glob(filepath.Join(w.state(), "trash", "*"+string(first.ID)+"*"))[0], string(first.ID), list[0].NotSaved); text != "" {
		t.Error(text)
	}
	w.run("trash", "empty", "a")
	if list, err := w.client.ListTrash(w.ctx()); err != nil || len(list) != 0 {
		t.Errorf("the trash has %+v, %v", list, err)
	}

	// One that is not wanted goes past all of it.
	if _, err := w.client.DeleteVM(w.ctx(), "a", api.Delete{}, nil); err != nil {
		t.Fatal(err)
	}
	last := lose()
	if _, err := w.client.DeleteVM(w.ctx(), string(last.ID), api.Delete{Discard: true}, nil); err != nil {
		t.Fatal(err)
	}
	if list, err := w.client.ListTrash(w.ctx()); err != nil || len(list) != 1 || list[0].ID == last.ID || list[0].NotSaved != "" {
		t.Errorf("the trash has %+v, %v; want one, which was saved", list, err)
	}
	w.check()
}

// With no byte free, work comes out to a pipe: what was saved without a write, and what a
// running guest has through memory, where nothing is left of it. It is not called saved.
func TestExportFullDisk(t *testing.T) {
	w := newFullWorld(t)
	w.mustStart()
	v := w.createWithWork()
	w.edit(v)
	w.stopTelling()
	w.fill(0)
	patch, _ := w.run("vm", "workspace", "export", "a")
	if !strings.Contains(patch, theEdit) {
		t.Errorf("saved work, with no byte free:\n%s", patch)
	}
	for _, args := range [][]string{{"diff", "a"}, {"saved", "list"}, {"saved", "show", "a"}, {"vm", "workspace", "export", "a", "--base-commit", "HEAD", "--stat"}} {
		w.run(args...)
	}
	w.fill(-1)

	w.startA()
	// The guest has a disk of its own, as a VM has whose disk has all its blocks.
	guest := filepath.Join(w.vmDir(v.ID), "guest")
	if out, err := exec.Command("sh", "-euc", `mv "$1" "$2"; ln -s "$2" "$1"; echo late >"$1/repo/late"`, "sh", guest, filepath.Join(w.dir, "guest")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.fill(0)
	patch, errs := w.run("vm", "workspace", "export", "a")
	if !strings.Contains(patch, "+late") || !strings.Contains(patch, theEdit) {
		t.Errorf("the work of a guest, with no byte free:\n%s%s", patch, errs)
	}
	if !strings.Contains(errs, "not saved") || !strings.Contains(errs, "kept nowhere else") {
		t.Errorf("it says %q", errs)
	}
	if now := w.show("a"); !strings.Contains(now.NotSaved, "no space") && !strings.Contains(now.NotSaved, "No space") {
		t.Errorf("it is not called unsaved: %q", now.NotSaved)
	}
	if out, err := exec.Command("sh", "-euc", `cd "$1"; git config core.compression 0; head -c 257M /dev/urandom >huge`, "sh", filepath.Join(guest, "repo")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := w.command("vm", "workspace", "export", "a")
	var out, says bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &says
	if err := cmd.Run(); err == nil || out.Len() > 0 || !strings.Contains(says.String(), "nor taken into memory: it takes more than 256 MiB") {
		t.Errorf("export of 257 MiB, with no byte free: %v, %d bytes\n%s", err, out.Len(), &says)
	}
	if left := glob(fmt.Sprintf("/dev/shm/banger-%d/*", os.Getuid())); len(left) > 0 {
		t.Errorf("left in memory: %q", left)
	}
	if err := os.Remove(filepath.Join(guest, "repo", "huge")); err != nil {
		t.Fatal(err)
	}
	w.fill(-1)
	if v, _ := w.stopTelling(); v.NotSaved != "" || w.savedWork(v).Files != 2 {
		t.Errorf("with room again: %q, %+v", v.NotSaved, w.savedWork(v))
	}
	w.check()
}
