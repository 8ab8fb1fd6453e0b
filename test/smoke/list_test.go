package main

import (
	"maps"
	"slices"
	"testing"

	"banger/test/harness"
)

func TestReadList(t *testing.T) {
	t.Chdir("../..")
	all, err := readList("")
	if err != nil {
		t.Fatal(err)
	}
	if !all.user || !all.other || len(all.between) != len(harness.Betweens) || !slices.Equal(all.contracts, drivers) {
		t.Errorf("the whole list is %+v", all)
	}
	if all.image {
		t.Error("the whole list has a day's work, which nobody asked for")
	}
	for only, want := range map[string]list{
		"life/qemu":            {user: true},
		"nokvm|contract/fire":  {other: true, contracts: []string{"firecracker"}},
		"reboot|contract":      {between: map[string]bool{"reboot": true}, contracts: drivers},
		"day/qemu":             {image: true},
		"contract/qemu":        {contracts: []string{"qemu"}},
		"reboot/qemu|life|run": {user: true, between: map[string]bool{"reboot": true}},
	} {
		l, err := readList(only)
		if err != nil || l.user != want.user || l.other != want.other || l.image != want.image || !maps.Equal(l.between, want.between) || !slices.Equal(l.contracts, want.contracts) {
			t.Errorf("of %q there is %+v, %v", only, l, err)
		}
	}
	for _, only := range []string{"nosuch", "("} {
		if l, err := readList(only); err == nil {
			t.Errorf("of %q there is %+v", only, l)
		}
	}
}
