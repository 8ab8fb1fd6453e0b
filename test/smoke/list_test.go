package main

import (
	"maps"
	"slices"
	"testing"

	"banger/test/harness"
)

func TestReadList(t *testing.T) {
	t.Chdir("../..")
	all, err := readList("", false, true)
	if err != nil {
		t.Fatal(err)
	}
	if !all.user || !all.other || len(all.between) != len(harness.Betweens) || !slices.Equal(all.contracts, drivers) || len(all.leftOut) > 0 {
		t.Errorf("the whole list is %+v", all)
	}
	for only, want := range map[string]list{
		"life/qemu":            {user: true},
		"nokvm|contract/fire":  {other: true, contracts: []string{"firecracker"}},
		"reboot|contract":      {between: map[string]bool{"reboot": true}, contracts: drivers},
		"contract/qemu":        {contracts: []string{"qemu"}},
		"reboot/qemu|life|run": {user: true, between: map[string]bool{"reboot": true}},
	} {
		l, err := readList(only, false, false)
		if err != nil || l.user != want.user || l.other != want.other || !maps.Equal(l.between, want.between) || !slices.Equal(l.contracts, want.contracts) {
			t.Errorf("of %q there is %+v, %v", only, l, err)
		}
	}
	for _, only := range []string{"nosuch", "("} {
		if l, err := readList(only, false, false); err == nil {
			t.Errorf("of %q there is %+v", only, l)
		}
	}
}

// The short list leaves out what is named, and with a Firecracker no scenario
// of it.
func TestShortList(t *testing.T) {
	t.Chdir("../..")
	suite := test{"banger/internal/vmm/qemu", "TestContract"}
	if l, err := readList("", true, false); err != nil || !slices.Equal(l.leftOut, []test{suite}) {
		t.Errorf("without a Firecracker it leaves out %+v, %v", l, err)
	}
	l, err := readList("", true, true)
	if err != nil {
		t.Fatal(err)
	}
	for name, out := range map[string]bool{
		"daemon/qemu": true, "reboot/qemu-before": true, "reboot/qemu-after": true,
		"daemon/firecracker": false, "life/qemu": false, "run/qemu": false, "nokvm": false, "nokvm/qemu": false,
	} {
		if slices.Contains(l.leftOut, test{packageName, "Test/" + name}) != out {
			t.Errorf("with a Firecracker the short list leaves out %v", l.leftOut)
		}
	}
}
