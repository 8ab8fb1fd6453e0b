package daemon

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"banger/internal/api"
	"banger/internal/cas"
	"banger/internal/disk"
	"banger/internal/hint"
	"banger/internal/image"
	"banger/internal/instance"
	"banger/internal/kernel"
	"banger/internal/store"
	"banger/internal/supervisor"
	"banger/internal/vm"
)

// toFault is the one table from the daemon's errors to the API's faults. A hint
// never changes a code.
func toFault(err error, op string) *api.Fault {
	if own := (*api.Fault)(nil); errors.As(err, &own) {
		return own
	}
	f := &api.Fault{Code: codeOf(err), Message: err.Error(), Hint: hint.Of(err), Op: op}
	var (
		field *vm.FieldError
		boot  *instance.BootError
	)
	switch {
	case errors.As(err, &boot):
		f.Message, f.Console = boot.Error(), boot.Ending.Console
		if f.Hint == "" {
			f.Hint = boot.Ending.Hint
		}
		if boot.Kept {
			f.VM = boot.Name
		}
	case errors.As(err, &field):
		f.Field = field.Field
	case f.Code == api.CodeAmbiguous:
		f.Hint = "type more digits of the id, or the VM's name"
	case errors.Is(err, image.ErrNotFound):
		f.Field = "image"
	case errors.Is(err, store.ErrNameTaken):
		f.Field = "name"
		if f.Hint == "" {
			f.Hint = "choose another --name, or none to have one made"
		}
	}
	return f
}

func codeOf(err error) api.Code {
	var (
		boot      *instance.BootError
		field     *vm.FieldError
		ambiguous *instance.AmbiguousError
		state     *instance.StateError
		ended     *instance.EndedByError
		silent    *instance.SilentError
		memory    *instance.MemoryError
		bound     *instance.BoundError
		inUse     *instance.ImageInUseError
	)
	for _, row := range []struct {
		is   bool
		code api.Code
	}{
		{errors.As(err, &boot), api.CodeBoot},
		{errors.As(err, &ended), api.CodeEnded},
		{errors.As(err, &field), api.CodeInvalid},
		{errors.As(err, &ambiguous), api.CodeAmbiguous},
		{errors.As(err, &memory), api.CodeMemory},
		{errors.As(err, &bound), api.CodeNoSpace},
		{errors.As(err, &silent), api.CodeSilent},
		{errors.As(err, &state), api.CodeState},
		{errors.As(err, &inUse), api.CodeState},
		{errors.Is(err, instance.ErrNotFound), api.CodeNotFound},
		{errors.Is(err, disk.ErrNotInTrash), api.CodeNotFound},
		{errors.Is(err, image.ErrNotFound), api.CodeNotFound},
		{errors.Is(err, kernel.ErrNotFound), api.CodeNotFound},
		{errors.Is(err, store.ErrNameTaken), api.CodeExists},
		{errors.Is(err, store.ErrDamaged), api.CodeDamaged},
		{errors.Is(err, cas.ErrDamaged), api.CodeDamaged},
		{errors.Is(err, unix.ENOSPC), api.CodeNoSpace},
		{errors.Is(err, unix.EDQUOT), api.CodeNoSpace},
		{errors.Is(err, unix.EROFS), api.CodeReadOnly},
		{errors.Is(err, context.Canceled), api.CodeCancelled},
		{errors.Is(err, instance.ErrClosing), api.CodeCancelled},
		{errors.Is(err, hint.ErrMissing), api.CodeMissing},
	} {
		if row.is {
			return row.code
		}
	}
	if r := (*supervisor.Refusal)(nil); errors.As(err, &r) { // its codes are spelled as these
		switch r.Code {
		case supervisor.CodeInvalid, supervisor.CodeState, supervisor.CodeSilent:
			return api.Code(r.Code)
		}
	}
	return api.CodeInternal
}
