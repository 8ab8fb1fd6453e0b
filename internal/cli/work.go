package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"banger/internal/api"
	"banger/internal/hint"
	"banger/internal/paths"
	"banger/internal/session"
	"banger/internal/vm"
	"banger/internal/workspace"
)

// work brings out the work of a VM's workspace: from the guest if the VM runs, else
// what was saved. ref may name a saved work, whose VM may be gone. The caller calls done
// when it is through with it.
func (a *app) work(ctx context.Context, ref, guestPath string, show display) (s workspace.Store, w workspace.Work, done func(), err error) {
	done = func() {}
	client, err := a.connect(ctx)
	if err != nil {
		return s, w, done, err
	}
	v, err := client.ShowVM(ctx, ref)
	if isCode(err, api.CodeNotFound) {
		saved, serr := findSaved(ref)
		if errors.Is(serr, workspace.ErrNotFound) {
			return s, w, done, err
		}
		return saved.Store, saved.Work, done, serr
	}
	if err != nil {
		return s, w, done, err
	}
	picked, err := pickWorkspace(v, guestPath)
	if err != nil {
		return s, w, done, err
	}
	if v.State == vm.Running {
		now, err := client.SaveWork(ctx, string(v.ID), each(show))
		if isCode(err, api.CodeNoSpace) && v.Session != nil {
			return a.workInMemory(ctx, *v.Session, workspace.Store{Dir: picked.Dir}, err, show)
		}
		if err != nil {
			return s, w, done, err
		}
		v = now
		if picked, err = pickWorkspace(v, guestPath); err != nil {
			return s, w, done, err
		}
	}
	s = workspace.Store{Dir: picked.Dir}
	if w, err = s.Work(); errors.Is(err, workspace.ErrNoWork) {
		return s, w, done, hint.Add(fmt.Errorf("VM %s ended before the work in %s was saved", clean(v.Name), clean(picked.GuestPath)), "banger vm start "+v.Name+", then once more")
	}
	if err == nil && v.State != vm.Running && !picked.Final {
		show.event("", api.Event{Notice: fmt.Sprintf("warning: %s ended before its last work was saved; this is its work at %s", clean(v.Name), moment(picked.SavedAt))})
	}
	return s, w, done, err
}

// maxInMemory bounds work that is taken into memory, in bytes.
const maxInMemory = 256 << 20

// workInMemory brings a guest's work into memory, checked as any other, because it could
// not be saved. It is what the guest has now, for this command alone: done removes it.
func (a *app) workInMemory(ctx context.Context, guest api.Session, from workspace.Store, why error, show display) (s workspace.Store, w workspace.Work, done func(), err error) {
	done = func() {}
	parent, err := memoryDir()
	if err != nil {
		return s, w, done, errors.Join(why, err)
	}
	lease, err := workspace.NewLease(parent)
	if err != nil {
		return s, w, done, errors.Join(why, err)
	}
	done = func() {
		lease.Close()
		os.Remove(parent) // unless another command has something there
	}
	ask := func(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
		return session.RunAgent(ctx, guest.Socket, args, in, out)
	}
	room := func() (int64, error) {
		used, err := workspace.Store{Dir: lease.Dir}.UsedBytes()
		return maxInMemory - used, err
	}
	if s, err = from.Beside(ctx, lease.Dir); err == nil {
		w, err = s.Save(ctx, ask, room)
	}
	if err != nil {
		done()
		if errors.Is(err, workspace.ErrNoRoom) {
			err = fmt.Errorf("nor taken into memory: it takes more than %s", bytesText(maxInMemory))
		}
		return s, w, func() {}, errors.Join(why, err)
	}
	show.event("", api.Event{Notice: clean(fmt.Sprintf("not saved: %v", why)) + "\nthis is what the guest has now; it is kept nowhere else"})
	return s, w, done, nil
}

// memoryDir makes a directory in memory that is this user's: the one with the most room.
func memoryDir() (best string, err error) {
	var most uint64
	for _, dir := range paths.Memory() {
		derr := os.Mkdir(dir, 0o700)
		if derr == nil || errors.Is(derr, os.ErrExist) {
			derr = workspace.SweepLeases(dir) // of commands that were cut
		}
		var st unix.Statfs_t
		if derr == nil {
			derr = unix.Statfs(dir, &st)
		}
		if derr != nil {
			err = errors.Join(err, derr)
		} else if free := st.Bavail * uint64(st.Bsize); best == "" || free > most {
			best, most = dir, free
		}
	}
	if best != "" {
		return best, nil
	}
	return "", fmt.Errorf("make a directory in memory: %w", err)
}
