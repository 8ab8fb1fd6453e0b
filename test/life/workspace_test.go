//go:build standin

package life

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/api"
	"banger/internal/session"
	"banger/internal/vm"
	"banger/internal/workspace"
	"banger/internal/workspace/wire"
)

// repository makes one with a commit. The caller removes it.
func repository() (string, error) {
	dir, err := os.MkdirTemp("", "life-repo-*")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("sh", "-euc", "git init -q; echo 1 >f; git add f; git -c user.name=u -c user.email=u@example.org commit -qm one")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("make a repository: %v\n%s", err, out)
	}
	return dir, err
}

// giveWorkspace copies a repository into VM a, as banger vm workspace prepare does.
func giveWorkspace(ctx context.Context, c *api.Client) error {
	where, err := c.VMSession(ctx, "a")
	if err != nil {
		return err
	}
	v, err := c.ShowVM(ctx, "a")
	if err != nil {
		return err
	}
	repo, err := repository()
	defer os.RemoveAll(repo)
	if err != nil {
		return err
	}
	staging := filepath.Join(v.Dir, "..", "..", "work")
	r, err := workspace.Open(ctx, repo, "")
	if err != nil {
		return err
	}
	p, err := workspace.NewPlan(ctx, r, workspace.Options{Scratch: staging})
	if err != nil {
		return err
	}
	defer p.Close()
	in, out := io.Pipe()
	go func() { // ends with the stream's reader
		out.CloseWithError(p.Send(ctx, out, workspace.SendOptions{Path: []byte("repo")}))
	}()
	defer in.Close()
	var answer bytes.Buffer
	if err := session.RunAgent(ctx, where.Socket, []string{wire.Program, wire.Receive}, in, &answer); err != nil {
		return err
	}
	var got wire.Received
	if err := wire.ReadJSON(bufio.NewReader(&answer), &got); err != nil || got.Error != "" {
		return fmt.Errorf("receive: %+v, %v", got, err)
	}
	staged, err := workspace.NewLease(staging)
	if err != nil {
		return err
	}
	defer staged.Close()
	if _, err := workspace.NewStore(ctx, staged.Dir, p, workspace.Owner{ID: string(v.ID), Name: v.Name, GuestPath: string(got.Path)}); err != nil {
		return err
	}
	_, err = c.AddWorkspace(ctx, "a", api.WorkspaceAdd{GuestPath: string(got.Path), Repository: repo, Staged: filepath.Base(staged.Dir)})
	return err
}

// theEdit is what a user's command did in the workspace.
const theEdit = "the edit"

func (w *world) edit(v api.VM) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.vmDir(v.ID), "guest", "repo", "new"), []byte(theEdit), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// hasEdit reports what is wrong with the work of VM a, which is v, or nil if it was
// deleted; "" if nothing is lost and nothing is called saved that is not.
func (w *world) hasEdit(v *api.VM) string {
	if v != nil && v.State == vm.Running {
		return ""
	}
	if v != nil {
		return w.isKept(w.vmDir(v.ID), string(v.ID), v.NotSaved)
	}
	list, err := w.client.ListTrash(w.ctx())
	if err != nil {
		return err.Error()
	}
	for _, e := range list {
		dirs := glob(filepath.Join(w.state(), "trash", "*"+string(e.ID)+"*"))
		if len(dirs) != 1 {
			return fmt.Sprintf("VM %s is in the trash as %q", e.ID, dirs)
		}
		if text := w.isKept(dirs[0], string(e.ID), e.NotSaved); text != "" {
			return text
		}
	}
	return ""
}

// isKept reports what is wrong with the edit in a VM's directory.
func (w *world) isKept(dir, id, notSaved string) string {
	path := filepath.Join(dir, "guest", "repo", "new")
	if text, err := os.ReadFile(path); err != nil || string(text) != theEdit {
		return fmt.Sprintf("the edit is gone from %s: %q, %v", path, text, err)
	}
	for _, dir := range glob(filepath.Join(w.state(), "work", id+"-*")) {
		if work, err := (workspace.Store{Dir: dir}).Work(); err == nil && work.Files == 1 {
			return ""
		}
	}
	if notSaved == "" {
		return "the edit was not saved, and nothing says so"
	}
	return ""
}

// A save that lasts is given up by a second stop: the work stays in the VM's disk, and
// the VM says so.
func TestSecondStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustStart()
	v := w.create("a", true)
	if err := giveWorkspace(w.ctx(), w.client); err != nil {
		t.Fatal(err)
	}
	w.edit(v)
	slow := filepath.Join(w.vmDir(v.ID), "run", "standin", "bin", "git")
	if err := os.WriteFile(slow, []byte("#!/bin/sh\nexec sleep 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	first := make(chan error, 1)
	go func() { // ends with the stop
		_, err := w.client.StopVM(w.ctx(), "a", api.Stop{}, nil)
		first <- err
	}()
	w.eventually(func() string {
		if now := w.show("a"); now == nil || now.Operation != "stop" {
			return fmt.Sprintf("the VM is %+v", now)
		}
		return ""
	})
	if err := stop(w); err != nil {
		t.Error(err)
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
	now := w.show("a")
	if now.State != vm.Stopped || !strings.Contains(now.NotSaved, "given up") {
		t.Errorf("after both stops the VM is %s, not saved: %q", now.State, now.NotSaved)
	}
	if text := w.hasEdit(now); text != "" {
		t.Error(text)
	}
}
