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
	Driver string
	Accel  string
	Why    string
}

// Emulated reports whether the guest's instructions are translated.
func (c Choice) Emulated() bool { return c.Accel != "kvm" }

// UnknownDriverError is a --vmm that names no driver of this build.
type UnknownDriverError struct {
	Want  string
	Known []string
}

func (e *UnknownDriverError) Error() string {
	return fmt.Sprintf("VMM %q is not known: use auto, %s", e.Want, strings.Join(e.Known, " or "))
}

// Choose looks at the host and says which driver want ("auto" or a name) means
// now: the first usable one with KVM, else the first usable one.
func (d Drivers) Choose(ctx context.Context, want string) (Choice, error) {
	var emulated *Choice
	var why, known []string
	for _, driver := range d {
		known = append(known, driver.Name())
		if want != "auto" && want != driver.Name() {
			continue
		}
		p := driver.Probe(ctx)
		c := Choice{Driver: driver.Name(), Accel: p.Accel, Why: p.Why}
		switch {
		case !p.Usable:
			why = append(why, driver.Name()+": "+p.Why)
		case !c.Emulated():
			return c, nil
		case emulated == nil:
			emulated = &c
		}
	}
	switch {
	case emulated != nil:
		return *emulated, nil
	case len(why) == 0:
		return Choice{}, &UnknownDriverError{want, known}
	}
	return Choice{}, hint.Add(fmt.Errorf("find a VMM: %s", strings.Join(why, "; ")), "banger doctor says what is missing")
}

func (d Drivers) find(name string) (vmm.Driver, error) {
	for _, driver := range d {
		if driver.Name() == name {
			return driver, nil
		}
	}
	return nil, fmt.Errorf("driver %q is not in this program", name)
}
