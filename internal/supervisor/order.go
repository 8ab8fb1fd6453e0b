package supervisor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"banger/internal/durable"
	"banger/internal/fault"
	"banger/internal/vm"
	"banger/internal/vmm"
)

// Files in a VM's directory.
const (
	OrderFile = "launch.json"    // what the daemon ordered
	RunFile   = "run.json"       // how the run ended, by its supervisor
	LogFile   = "supervisor.log" // the supervisor's own log, of the last run
	LockFile  = "run.lock"       // held while a supervisor lives, see TakeLock
	runDir    = "run"            // the sockets of a run
	socket    = "supervisor.sock"
)

// Order is one run of a VM: the machine, and who it is. Nothing lies between it
// and the driver.
type Order struct {
	vmm.Spec
	Name   string `json:"name"`
	Driver string `json:"driver"` // a driver's name, never "auto"
	Op     string `json:"op"`     // the operation's id in the log
	// NoInit leaves out the image's init: no service of the guest's starts.
	NoInit bool `json:"no_init,omitempty"`
	// HoldInit is control.Identity's.
	HoldInit bool `json:"hold_init,omitempty"`
	// Repair says that the user wants the disk repaired, whatever is lost.
	Repair bool `json:"repair,omitempty"`
	// TZ is the VM's, see vm.Spec.
	TZ string `json:"tz,omitempty"`
	// Network is the guest's; nil for none.
	Network *Network `json:"network,omitempty"`
	// SSHClients are the public keys that may log in to the guest's SSH service.
	SSHClients []string `json:"ssh_clients,omitempty"`
	// Protocol is the one of who wrote the order.
	Protocol int `json:"protocol"`
}

// WriteOrder puts o into its directory's launch.json.
func WriteOrder(o Order) error {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return fault.Do("start.order", func() error { return durable.Replace(filepath.Join(o.Dir, OrderFile), text) })
}

// ReadOrder reads the order in a VM's directory. Fields that it does not know
// are ignored.
func ReadOrder(dir string) (Order, error) {
	text, err := os.ReadFile(filepath.Join(dir, OrderFile))
	if err != nil {
		return Order{}, err
	}
	var o Order
	if err := json.Unmarshal(text, &o); err != nil {
		return Order{}, fmt.Errorf("read %q: %w", filepath.Join(dir, OrderFile), err)
	}
	return o, vm.CheckID(string(o.ID))
}

// RunDir is the directory of a run's sockets, 0700. It lies in the VM's own
// directory: nothing of the environment decides where a running VM is found.
func RunDir(dir string) string { return filepath.Join(dir, runDir) }

// SocketPath is where the supervisor of the VM in dir answers.
func SocketPath(dir string) string { return filepath.Join(RunDir(dir), socket) }
