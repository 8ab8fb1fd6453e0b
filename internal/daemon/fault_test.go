package daemon

import (
	"errors"
	"fmt"
	"testing"

	"banger/internal/api"
	"banger/internal/supervisor"
)

// What a supervisor refuses has its code, and is no error of the daemon's own.
func TestFaultOfRefusal(t *testing.T) {
	for code, want := range map[string]api.Code{
		supervisor.CodeState: api.CodeState, supervisor.CodeInvalid: api.CodeInvalid, supervisor.CodeSilent: api.CodeSilent,
		supervisor.CodeInternal: api.CodeInternal, "another": api.CodeInternal,
	} {
		err := fmt.Errorf("forward: %w", &supervisor.Refusal{Code: code, Message: "no"})
		if got := toFault(err, ""); got.Code != want || got.Message != "forward: no" {
			t.Errorf("of a refusal with the code %q there is %+v, want %s", code, got, want)
		}
	}
	if got := toFault(errors.New("x"), ""); got.Code != api.CodeInternal {
		t.Errorf("of any error there is %+v", got)
	}
}
