package image

import (
	"context"
	"errors"
	"testing"

	"banger/internal/progress"
)

func TestPrepare(t *testing.T) {
	failed, other := errors.New("no kernel"), errors.New("no packages")
	for name, c := range map[string]struct {
		prepare    error // nil waits for the end
		work, want error
	}{
		"the work fails":        {nil, other, other},
		"the preparation fails": {failed, context.Canceled, failed},
	} {
		s, err := Open(t.TempDir(), Writer{Prepare: func(ctx context.Context, _ progress.Func) error {
			if c.prepare == nil {
				<-ctx.Done()
				return ctx.Err()
			}
			return c.prepare
		}})
		if err != nil {
			t.Fatal(err)
		}
		p := s.prepare(t.Context(), progress.Discard)
		if c.prepare != nil {
			<-p.ctx.Done()
		}
		if err := p.wait(c.work); err != c.want {
			t.Errorf("%s: wait = %v, want %v", name, err, c.want)
		}
	}
	if err := open(t).prepare(t.Context(), progress.Discard).wait(nil); err != nil {
		t.Errorf("nothing fails: wait = %v", err)
	}
}
