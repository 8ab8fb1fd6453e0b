package instance

import (
	"context"
	"errors"
	"fmt"

	"banger/internal/fault"
	"banger/internal/hint"
	"banger/internal/store"
	"banger/internal/vm"
)

// Restore takes a deleted VM out of the trash, stopped and tied to no session.
// name, if it is not empty, is its new name.
func (s *Set) Restore(ctx context.Context, ref, name string) (*Instance, error) {
	e, err := s.trash.Find(ref)
	if err != nil {
		return nil, err
	}
	rec, err := store.ReadFile(e.Dir)
	if err != nil {
		return nil, fmt.Errorf("restore %q: %w", ref, err)
	}
	if rec.ID != e.ID {
		return nil, fmt.Errorf("restore %q: its %s is of another VM, %q", ref, "vm.json", rec.ID)
	}
	if name != "" {
		if err := vm.CheckName(name); err != nil {
			return nil, &vm.FieldError{Field: "name", Err: err}
		}
		rec.Spec.Name = name
	}
	rec.State, rec.Remove, rec.Holder, rec.Discard, rec.Restart, rec.NotSaved = vm.Stopped, false, nil, false, false, ""
	if rec.StartedAt.IsZero() {
		rec.State = vm.Created
	}
	rec.Run.Supervisor, rec.Run.VMM, rec.HostKey = nil, nil, ""
	s.dropRows()
	// The file first: the row is taken for true once the directory is there.
	if err := fault.Do("restore.file", func() error { return store.WriteFile(e.Dir, rec) }); err != nil {
		return nil, err
	}
	err = fault.Do("restore.row", func() error { return s.store.Insert(ctx, rec) })
	if errors.Is(err, store.ErrNameTaken) {
		return nil, hint.Add(fmt.Errorf("restore %q as %q: %w", ref, rec.Spec.Name, err), "banger trash restore "+ref+" --name ANOTHER")
	}
	if err != nil {
		return nil, err
	}
	err = fault.Do("restore.dir", func() error { return s.trash.Restore(e, s.cfg.Dirs.VM(rec.ID)) })
	if err != nil {
		s.dropRow(rec.ID)
		return nil, err
	}
	return s.newInstance(rec), nil
}
