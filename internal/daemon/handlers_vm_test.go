package daemon

import (
	"testing"

	"banger/internal/api"
	"banger/internal/vm"
)

func TestEnterHint(t *testing.T) {
	for state, want := range map[vm.State]string{
		vm.Created: "banger vm start dev", vm.Stopped: "banger vm start dev", vm.Error: "banger vm start dev", vm.Stopping: "banger vm start dev",
		vm.Starting: "banger vm wait dev running", vm.Deleting: "banger vm show dev",
	} {
		if got := enterHint(api.VM{Name: "dev", State: state}); got != want {
			t.Errorf("of a VM that is %s it says to type %q, want %q", state, got, want)
		}
	}
}
