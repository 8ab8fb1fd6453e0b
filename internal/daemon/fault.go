package daemon

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"banger/internal/api"
	"banger/internal/hint"
	"banger/internal/image"
	"banger/internal/kernel"
	"banger/internal/store"
	"banger/internal/vm"
)

// faultOf is the one table from the daemon's errors to the API's faults.
func faultOf(err error, op string) *api.Fault {
	f := &api.Fault{Code: api.CodeInternal, Message: err.Error(), Hint: hint.Of(err), Op: op}
	var (
		field     *vm.FieldError
		ambiguous *store.AmbiguousError
		state     *stateError
		boot      *bootError
	)
	switch {
	case errors.As(err, &boot):
		f.Code, f.Message = api.CodeBoot, boot.Error()
		f.Console, f.VM = boot.ending.Console, boot.name
	case errors.As(err, &field):
		f.Code, f.Field = api.CodeInvalid, field.Field
	case errors.As(err, &ambiguous):
		f.Code = api.CodeAmbiguous
	case errors.As(err, &state):
		f.Code = api.CodeState
	case errors.Is(err, image.ErrNotFound):
		f.Code, f.Field = api.CodeNotFound, "image"
	case errors.Is(err, store.ErrNotFound), errors.Is(err, kernel.ErrNotFound):
		f.Code = api.CodeNotFound
	case errors.Is(err, store.ErrNameTaken):
		f.Code, f.Field = api.CodeExists, "name"
		if f.Hint == "" {
			f.Hint = "choose another --name, or none to have one made"
		}
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		f.Code = api.CodeNoSpace
	case errors.Is(err, context.Canceled), errors.Is(err, errStopping):
		f.Code = api.CodeCancelled
	case f.Hint != "":
		f.Code = api.CodeMissing
	}
	return f
}
