package instance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"banger/internal/fault"
	"banger/internal/hint"
	"banger/internal/image"
	"banger/internal/vm"
)

// ImageInUseError is an image that VMs were made from.
type ImageInUseError struct {
	Ref string
	VMs []string // names
}

func (e *ImageInUseError) Error() string {
	return fmt.Sprintf("image %q is in use: %s", e.Ref, strings.Join(e.VMs, ", "))
}

// ImageUsers returns the names of the VMs that were made from i, and of those that
// are being made from it.
func (s *Set) ImageUsers(i image.Image) []string {
	return s.namesOf(func(r vm.Record) bool {
		return r.Spec.Image == i.Ref && (r.ImageDigest == i.Digest || r.ImageDigest == "")
	})
}

func (s *Set) namesOf(is func(vm.Record) bool) (names []string) {
	for _, i := range s.All() {
		if r := i.View().Record; is(r) {
			names = append(names, r.Spec.Name)
		}
	}
	slices.Sort(names)
	return names
}

// DeleteImage removes the image that ref stands for, unless a VM uses it: then the
// error is an *ImageInUseError.
func (s *Set) DeleteImage(ctx context.Context, ref string) (image.Image, error) {
	i, err := s.images.Get(ref)
	users := s.ImageUsers(i)
	switch {
	case errors.Is(err, image.ErrNotFound):
		return i, hint.Add(err, "banger image list shows what there is")
	case err != nil: // damaged: it is not known which it was
		i = image.Image{Ref: ref}
		users = s.namesOf(func(r vm.Record) bool { return r.Spec.Image == ref })
	}
	if len(users) > 0 {
		return i, hint.Add(&ImageInUseError{ref, users}, "banger vm delete "+strings.Join(users, " "))
	}
	return i, fault.Do("image.delete", func() error { return s.images.Delete(ctx, ref) })
}
