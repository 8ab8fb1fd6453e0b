package workspace

import (
	"errors"
	"path/filepath"
	"strings"

	"banger/internal/lease"
)

// leasePrefix begins the names of directories that a process needs for a while.
const leasePrefix = ".new-"

// NewLease makes a directory below parent that goes with this process. The caller
// closes it.
func NewLease(parent string) (*lease.Lease, error) { return lease.New(parent, leasePrefix) }

// IsLease reports whether name is that of a lease's directory.
func IsLease(name string) bool {
	return strings.HasPrefix(name, leasePrefix) && filepath.Base(name) == name
}

// SweepLeases removes the directories below parent whose process is gone, and those in
// the stores there. A parent that is another user's, or a link, is refused.
func SweepLeases(parent string) error {
	if err := lease.Sweep(parent, leasePrefix); err != nil {
		return err
	}
	stores, err := filepath.Glob(filepath.Join(parent, "*", storeFile))
	errs := []error{err}
	for _, file := range stores {
		errs = append(errs, lease.Sweep(filepath.Dir(file), incoming))
	}
	return errors.Join(errs...)
}
