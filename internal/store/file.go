package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"banger/internal/durable"
	"banger/internal/paths"
	"banger/internal/vm"
)

// MaxRecord bounds a vm.json, in bytes.
const MaxRecord = 256 << 10

// WriteFile replaces dir's vm.json in one step: after a crash it is the old or the
// new one, whole.
func WriteFile(dir string, r vm.Record) error {
	text, err := encode(r)
	if err != nil {
		return err
	}
	return durable.Replace(filepath.Join(dir, paths.RecordFile), text)
}

// IsFile reports whether dir's vm.json is what WriteFile would write.
func IsFile(dir string, r vm.Record) bool {
	want, err := encode(r)
	if err != nil {
		return false
	}
	got, err := os.ReadFile(filepath.Join(dir, paths.RecordFile))
	return err == nil && bytes.Equal(got, want)
}

func encode(r vm.Record) ([]byte, error) {
	text, err := json.MarshalIndent(r, "", "\t")
	return append(text, '\n'), err
}

// ReadFile reads dir's vm.json. One that can't be read is ErrDamaged, one of
// another form ErrNewer or ErrOlder.
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
		return vm.Record{}, fmt.Errorf("%q is %w: it is larger than %d bytes", f.Name(), ErrDamaged, MaxRecord)
	}
	r, err := decode(text)
	if errors.Is(err, ErrOlder) {
		return vm.Record{}, olderError(f.Name(), r.Format, filepath.Dir(filepath.Dir(dir)))
	}
	if err != nil {
		return vm.Record{}, fmt.Errorf("read %q: %w", f.Name(), err)
	}
	return r, nil
}

func decode(text []byte) (vm.Record, error) {
	var form struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(text, &form); err != nil {
		return vm.Record{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	r := vm.Record{Format: form.Format}
	switch {
	case form.Format > vm.RecordFormat:
		return r, fmt.Errorf("record has format %d, this program knows %d: %w", form.Format, vm.RecordFormat, ErrNewer)
	case form.Format > 0 && form.Format < vm.RecordFormat:
		return r, fmt.Errorf("record has format %d, this program knows %d: %w", form.Format, vm.RecordFormat, ErrOlder)
	}
	err := json.Unmarshal(text, &r)
	if err == nil {
		err = vm.CheckID(string(r.ID))
	}
	if err == nil {
		err = vm.CheckName(r.Spec.Name)
	}
	if err != nil || form.Format == 0 {
		return r, errors.Join(ErrDamaged, err)
	}
	return r, nil
}
