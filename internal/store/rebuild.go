package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"banger/internal/durable"
	"banger/internal/vm"
)

// Check reads all of the database at path and changes nothing. Its errors are
// Open's; a file that is not there is fine. A daemon may have it open.
func Check(ctx context.Context, path string) error {
	_, _, err := Read(ctx, path)
	return err
}

// Read is Check, and returns what List does.
func Read(ctx context.Context, path string) (list []vm.Record, bad []string, err error) {
	if fi, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && fi.Size() == 0 {
		return nil, nil, nil
	}
	s := &Store{path: path}
	if err := s.open(ctx, true); err != nil {
		return nil, nil, err
	}
	defer s.Close()
	return s.List(ctx)
}

// Rebuilt is what Rebuild did.
type Rebuilt struct {
	SetAside string // where the damaged file is now
	VMs      int    // records found
	// Renamed are VMs whose name another has too: the old name by the new one.
	Renamed map[string]string
	// Skipped are directories whose record can't be read, with the reason.
	Skipped []string
}

// Rebuild sets the database at path aside, with its log, and makes a new one from
// the records in the directories below vmsDir. No daemon may have it open.
func Rebuild(ctx context.Context, path, vmsDir string) (Rebuilt, error) {
	out := Rebuilt{Renamed: map[string]string{}}
	aside := fmt.Sprintf("%s.damaged-%s", path, time.Now().UTC().Format("20060102T150405Z"))
	for _, suffix := range []string{"", "-wal", "-shm"} {
		err := os.Rename(path+suffix, aside+suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return out, err
		}
		if err == nil {
			out.SetAside = aside
		}
	}
	if err := durable.SyncDir(filepath.Dir(path)); err != nil {
		return out, err
	}
	s, err := Open(ctx, path)
	if err != nil {
		return out, err
	}
	defer s.Close()
	entries, err := os.ReadDir(vmsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return out, err
	}
	for _, e := range entries {
		if !e.IsDir() || vm.CheckID(e.Name()) != nil {
			continue
		}
		rec, err := ReadFile(filepath.Join(vmsDir, e.Name()))
		if err == nil && string(rec.ID) != e.Name() {
			err = fmt.Errorf("its record is of VM %q", rec.ID)
		}
		if err != nil {
			out.Skipped = append(out.Skipped, fmt.Sprintf("%s: %v", e.Name(), err))
			continue
		}
		now, err := s.InsertRestored(ctx, rec)
		if err != nil {
			return out, err
		}
		out.VMs++
		if now.Spec.Name != rec.Spec.Name {
			out.Renamed[now.Spec.Name] = rec.Spec.Name
		}
	}
	return out, nil
}
