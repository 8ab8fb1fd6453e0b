package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"banger/internal/api"
	"banger/internal/hint"
	"banger/internal/paths"
	"banger/internal/store"
	"banger/internal/vm"
)

// stateLimit bounds the reading of all records.
const stateLimit = time.Minute

// CheckState is `bangerd state [--fix]`: it reads the records of the state
// directory and writes an api.StateReport. With --fix it mends them first, for
// which no daemon may run.
func CheckState(w io.Writer, fix bool) error {
	dirs, err := paths.Host()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), stateLimit)
	defer cancel()
	var fixed []string
	if fix {
		if fixed, err = fixState(ctx, dirs); err != nil {
			return json.NewEncoder(w).Encode(api.StateReport{NotFixed: err.Error(), Hint: hint.Of(err)})
		}
	}
	r, _, err := readState(ctx, dirs)
	if err != nil {
		return err
	}
	r.Fixed = fixed
	return json.NewEncoder(w).Encode(r)
}

// readState reads the database and each VM's own copy of its record. It returns
// the records of the copies that are to be written anew.
func readState(ctx context.Context, dirs paths.Dirs) (r api.StateReport, stale []vm.Record, err error) {
	rows := map[vm.ID]vm.Record{}
	if _, err := os.Lstat(dirs.Database()); err == nil {
		r.Database = dirs.Database()
		list, _, err := store.Read(ctx, dirs.Database())
		if err != nil {
			r.Damage, r.Hint = err.Error(), hint.Of(err)
		}
		for _, rec := range list {
			rows[rec.ID] = rec
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return r, nil, err
	}
	entries, err := os.ReadDir(dirs.VMs())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r, nil, err
	}
	r.VMs = len(rows)
	for _, e := range entries {
		id := vm.ID(e.Name())
		if vm.CheckID(e.Name()) != nil || !e.IsDir() {
			continue
		}
		row, hasRow := rows[id]
		copied, err := store.ReadFile(dirs.VM(id))
		if err == nil && copied.ID != id {
			err = fmt.Errorf("its record is of VM %q", copied.ID)
		}
		switch {
		case err == nil && !hasRow:
			r.VMs++
		case err == nil, errors.Is(err, fs.ErrNotExist): // a create is under way, or was cut
		case hasRow:
			r.Stale = append(r.Stale, fmt.Sprintf("%s: %v", row.Spec.Name, err))
			stale = append(stale, row)
		default:
			r.Lost = append(r.Lost, fmt.Sprintf("%s: %v", dirs.VM(id), err))
		}
	}
	return r, stale, nil
}

// fixState mends what is banger's own, and says what it did.
func fixState(ctx context.Context, dirs paths.Dirs) ([]string, error) {
	if _, err := os.Lstat(dirs.State); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err := checkOwner(dirs.State); err != nil {
		return nil, err
	}
	lock, err := takeLock(dirs)
	if errors.Is(err, ErrRunning) {
		return nil, hint.Add(fmt.Errorf("mend the records: %w", err), "banger daemon stop; VMs go on without it")
	}
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	var fixed []string
	if err := store.Check(ctx, dirs.Database()); errors.Is(err, store.ErrDamaged) {
		done, err := store.Rebuild(ctx, dirs.Database(), dirs.VMs())
		if err != nil {
			return nil, fmt.Errorf("make the database anew: %w", err)
		}
		fixed = append(fixed, fmt.Sprintf("made the database anew from the records of %d VMs; the damaged one is %s", done.VMs, done.SetAside))
		for _, name := range slices.Sorted(maps.Keys(done.Renamed)) {
			fixed = append(fixed, fmt.Sprintf("VM %q is now %q: another has its name", done.Renamed[name], name))
		}
	} else if err != nil {
		return nil, err
	}
	_, stale, err := readState(ctx, dirs)
	if err != nil {
		return nil, err
	}
	for _, rec := range stale {
		if err := store.WriteFile(dirs.VM(rec.ID), rec); err != nil {
			return nil, err
		}
		fixed = append(fixed, fmt.Sprintf("wrote the record in the directory of VM %q anew", rec.Spec.Name))
	}
	return fixed, nil
}
