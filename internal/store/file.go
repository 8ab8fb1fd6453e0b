package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"banger/internal/paths"
	"banger/internal/vm"
)

// MaxRecord bounds a vm.json, in bytes.
const MaxRecord = 256 << 10

// WriteFile replaces dir's vm.json in one step: after a crash it is the old or
// the new one, whole.
func WriteFile(dir string, r vm.Record) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return Replace(filepath.Join(dir, paths.RecordFile), append(text, '\n'))
}

// Replace writes a file of mode 0600 by way of a temporary one beside it,
// synced before it takes the name.
func Replace(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return nil
}

// ReadFile reads dir's vm.json.
func ReadFile(dir string) (vm.Record, error) {
	f, err := os.Open(filepath.Join(dir, paths.RecordFile))
	if err != nil {
		return vm.Record{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxRecord+1))
	if err != nil {
		return vm.Record{}, err
	}
	if len(text) > MaxRecord {
		return vm.Record{}, fmt.Errorf("%q is larger than %d bytes", f.Name(), MaxRecord)
	}
	r, err := decode(text)
	if err != nil {
		return vm.Record{}, fmt.Errorf("read %q: %w", f.Name(), err)
	}
	return r, nil
}

func decode(text []byte) (vm.Record, error) {
	var r vm.Record
	if err := json.Unmarshal(text, &r); err != nil {
		return vm.Record{}, err
	}
	if r.Format > vm.RecordFormat {
		return vm.Record{}, fmt.Errorf("record has format %d, this program knows %d: %w", r.Format, vm.RecordFormat, ErrNewer)
	}
	if err := vm.CheckID(string(r.ID)); err != nil {
		return vm.Record{}, err
	}
	return r, nil
}
