package vmm

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// host is a driver on a host that the test makes up: what KVM is like, no test
// can choose.
type host struct {
	Driver
	name string
	p    Probe
}

func (h host) Name() string                { return h.name }
func (h host) Probe(context.Context) Probe { return h.p }

func TestChoose(t *testing.T) {
	kvm := Probe{Usable: true, Accel: AccelKVM, Version: "1", Why: "real", MaxVCPUs: 32}
	absent := Probe{Why: "absent", MaxVCPUs: 32}
	tcg := Probe{Usable: true, Accel: AccelTCG, Version: "2", Why: "no KVM", MaxVCPUs: 255}
	qemuKVM := tcg
	qemuKVM.Accel, qemuKVM.Why = AccelKVM, "real"
	for _, c := range []struct {
		name        string
		first, next Probe
		want        string
		vcpus       int
		driver, why string
	}{
		{"both", kvm, qemuKVM, "auto", 1, "first", "real"},
		{"first is absent", absent, qemuKVM, "auto", 1, "next", "real; not first: absent"},
		{"no KVM", Probe{Why: "no KVM"}, tcg, "auto", 1, "next", "no KVM"},
		{"many CPUs", kvm, qemuKVM, "auto", 33, "next", "real; not first: it takes at most 32 vCPUs"},
		{"asked for", kvm, qemuKVM, "next", 1, "next", "real"},
	} {
		d := Drivers{host{name: "first", p: c.first}, host{name: "next", p: c.next}}
		got, err := d.Choose(t.Context(), c.want, c.vcpus)
		if err != nil || got.Driver != c.driver || got.Why != c.why || got.Found.Why == "" {
			t.Errorf("%s: Choose(%q, %d) = %+v, %v; want %s because %q", c.name, c.want, c.vcpus, got, err, c.driver, c.why)
		}
	}
	d := Drivers{host{name: "first", p: absent}, host{name: "next", p: tcg}}
	if _, err := d.Choose(t.Context(), "first", 1); err == nil || !strings.Contains(err.Error(), "first: absent") {
		t.Errorf("Choose of one that is absent: %v, want why", err)
	}
	var unknown *UnknownDriverError
	if _, err := d.Choose(t.Context(), "xen", 1); !errors.As(err, &unknown) || !strings.Contains(err.Error(), "first or next") {
		t.Errorf("Choose of an unknown one: %v, want all names", err)
	}
}
