package vmm

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"banger/internal/hint"
)

// Drivers are the VMMs that this build knows, the preferred one first.
type Drivers []Driver

// Choice is the driver that a VM will run on, and why.
type Choice struct {
	Driver string `json:"driver"`
	Found  Probe  `json:"found"` // the result of the driver's Probe
	// Why explains the choice: why this acceleration and, on KVM, why each
	// preferred driver was passed over.
	Why string `json:"why"`
}

// Emulated reports whether the guest's instructions are translated.
func (c Choice) Emulated() bool { return c.Found.Accel != AccelKVM }

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
	var not, known []string // why each driver so far was rejected; all names
	for _, driver := range d {
		known = append(known, driver.Name())
		if k, ok := driver.(Kernelless); want == "auto" && ok && k.Kernelless() {
			continue // only by its name: it is no machine
		}
		if want != "auto" && want != driver.Name() {
			continue
		}
		p := driver.Probe(ctx)
		c := Choice{Driver: driver.Name(), Found: p, Why: p.Why}
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
	return Choice{}, hint.Missing(fmt.Errorf("find a VMM: %s", strings.Join(not, "; ")), "banger doctor says what is missing")
}

// Find returns the driver of that name.
func (d Drivers) Find(name string) (Driver, error) {
	for _, driver := range d {
		if driver.Name() == name {
			return driver, nil
		}
	}
	return nil, fmt.Errorf("driver %q is not in this program", name)
}

// Report is the answer of `bangerd probe`: each driver's findings, and the
// choice that "auto" means for a VM with one CPU.
type Report struct {
	Drivers []Finding `json:"drivers"` // the preferred one first
	Choice  *Choice   `json:"choice,omitempty"`
	Error   string    `json:"error,omitempty"` // why there is no choice
}

// Finding is one driver's probe.
type Finding struct {
	Driver string `json:"driver"`
	Probe  Probe  `json:"probe"`
}

// reportLimit bounds a report: each VMM's --version, and KVM's probe.
const reportLimit = 30 * time.Second

// WriteReport is `bangerd probe`: it writes the report to w as one line of JSON.
func (d Drivers) WriteReport(w io.Writer) error {
	ctx, cancel := context.WithTimeout(context.Background(), reportLimit)
	defer cancel()
	return json.NewEncoder(w).Encode(d.Report(ctx))
}

// Report probes every driver. It starts at most each VMM's --version.
func (d Drivers) Report(ctx context.Context) Report {
	var r Report
	for _, driver := range d {
		r.Drivers = append(r.Drivers, Finding{driver.Name(), driver.Probe(ctx)})
	}
	choice, err := d.Choose(ctx, "auto", 1)
	if err != nil {
		r.Error = err.Error()
		return r
	}
	r.Choice = &choice
	return r
}
