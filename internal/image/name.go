package image

import (
	"fmt"
	"regexp"
	"slices"
)

// NameError is a name that can't be meant.
type NameError struct {
	Package bool // of a package; else of the image
	Err     error
}

func (e *NameError) Error() string { return e.Err.Error() }
func (e *NameError) Unwrap() error { return e.Err }

// Limits of a build. A name is a file's in the store, and shown in listings.
const (
	maxName     = 63
	maxPackages = 200
)

var (
	goodName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)
	// A package's name is Debian's own form (Debian Policy, 5.6.1), and nothing else
	// that apt would take: versions, patterns, paths, or a hyphen at the end, which
	// removes the package.
	goodPackage = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]*[a-z0-9+.]$`)
)

// check returns packages in order and once each.
func check(ref string, packages []string) ([]string, error) {
	if len(ref) > maxName || !goodName.MatchString(ref) {
		return nil, &NameError{Err: fmt.Errorf("name %.80q is not 1 to %d of a-z, 0-9, hyphen and dot, with a letter or a digit at both ends", ref, maxName)}
	}
	if ref == Default && len(packages) > 0 {
		return nil, &NameError{Err: fmt.Errorf("an image with more packages needs a name of its own: %q is the default image", Default)}
	}
	packages = slices.Compact(slices.Sorted(slices.Values(packages)))
	for _, p := range packages {
		if len(p) > 128 || !goodPackage.MatchString(p) {
			return nil, &NameError{Package: true, Err: fmt.Errorf("%.80q is not the name of a Debian package", p)}
		}
	}
	if len(packages) > maxPackages {
		return nil, &NameError{Package: true, Err: fmt.Errorf("%d packages are more than %d", len(packages), maxPackages)}
	}
	return packages, nil
}
