package supervisor

import (
	"context"
	"fmt"
	"strings"

	"banger/internal/hint"
	"banger/internal/vmm"
)

// Drivers are the VMMs that this build knows, the preferred one first.
type Drivers []vmm.Driver

// Choice is the driver that a VM will run on, and why.
type Choice struct {
	Driver  string
	Version string // of the driver's program
	Accel   string
	Why     string // why this acceleration; with KVM, why no driver that comes before too
}

// Emulated reports whether the guest's instructions are translated.
func (c Choice) Emulated() bool { return c.Accel != vmm.AccelKVM }

// UnknownDriverError is a --vmm that names no driver of this build.
type UnknownDriverError struct {
	Want  string
	Known []string
}

func (e *UnknownDriverError) Error() string {
	return fmt.Sprintf("VMM %q is not known: use auto, %s", e.Want, strings.Join(e.Known, " or "))
}

// Choose looks at the host and says which driver want ("auto" or a name) means
// now for a VM with vcpus CPUs: the first usable one with KVM, else the first
// usable one.
func (d Drivers) Choose(ctx context.Context, want string, vcpus int) (Choice, error) {
	var emulated *Choice
	var not, known []string // why one that comes before is not it; all names
	for _, driver := range d {
		known = append(known, driver.Name())
		if want != "auto" && want != driver.Name() {
			continue
		}
		p := driver.Probe(ctx)
		c := Choice{Driver: driver.Name(), Version: p.Version, Accel: p.Accel, Why: p.Why}
		switch {
		case !p.Usable:
			not = append(not, driver.Name()+": "+p.Why)
		case vcpus > p.MaxVCPUs:
			not = append(not, fmt.Sprintf("%s: it takes at most %d vCPUs", driver.Name(), p.MaxVCPUs))
		case !c.Emulated():
			c.Why = strings.Join(append([]string{p.Why}, not...), "; not ")
			return c, nil
		case emulated == nil:
			emulated = &c
		}
	}
	switch {
	case emulated != nil:
		return *emulated, nil
	case len(not) == 0:
		return Choice{}, &UnknownDriverError{want, known}
	}
	return Choice{}, hint.Add(fmt.Errorf("find a VMM: %s", strings.Join(not, "; ")), "banger doctor says what is missing")
}

func (d Drivers) find(name string) (vmm.Driver, error) {
	for _, driver := range d {
		if driver.Name() == name {
			return driver, nil
		}
	}
	return nil, fmt.Errorf("driver %q is not in this program", name)
}
