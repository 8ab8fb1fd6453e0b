package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"banger/test/day"
)

// part is a kind of torture.
type part struct {
	name, what string
	slices     int
	longest    time.Duration // that a slice takes on a quiet machine
	args       func(slice int) []string
}

var parts = []part{
	{"faults", "every point of fault of every verb, each with every fault", 12, 4 * time.Minute, func(n int) []string {
		return life("TestFaults", "-full", fmt.Sprintf("-slice=%d/12", n))
	}},
	{"full", "every verb at each 64 KiB from 0 to 16 MiB free", 6, 10 * time.Minute, func(n int) []string {
		return life("TestFullDisk", "-full", fmt.Sprintf("-slice=%d/6", n))
	}},
	{"random", "1,000 rounds of eight workers on all verbs while daemon, supervisors and VMMs are killed and held, and environments change", 10, 3 * time.Minute, func(n int) []string {
		return append([]string{"-race"}, life("TestRandom", "-rounds=100", fmt.Sprintf("-seed=%d", n+1))...)
	}},
	{"model", "20,000 sequences of operations and faults against a model", 10, 3 * time.Minute, func(n int) []string {
		return life("TestModel", "-rapid.checks=500", fmt.Sprintf("-rapid.seed=%d", n+1))
	}},
	{"work", "10,000 random edits of workspaces, brought out, fetched and applied", 10, 3 * time.Minute, func(n int) []string {
		return []string{"-run=^TestRandomWork$", "./internal/workspace", "-args", "-cases=1000", fmt.Sprintf("-seed=%d", n+1)}
	}},
	{"flows", "400 breaks of the carrier of a guest's connections while they carry bytes", 4, 5 * time.Minute, func(int) []string {
		return []string{"-race", "-run=^TestCarrierBroken$", "./internal/network/egress", "-args", "-breaks=100"}
	}},
	{"leak", "an hour of create, run and delete", 2, 29 * time.Minute, func(int) []string {
		return life("TestLeak", "-lasts=28m")
	}},
	{"guests", "100 rounds with real guests that write and sync, while daemon, supervisors and VMMs are killed and held", 10, 8 * time.Minute, func(n int) []string {
		return []string{"-tags=vmtest", "-run=^TestL9$", "./test/vm", "-args", "-rounds=10", fmt.Sprintf("-seed=%d", n+1)}
	}},
	{"kills", "100 kills of CLI, daemon, supervisor and VMM during copies, commands, saves, runs with --rm and applies, with real guests: where the edits are", 10, 8 * time.Minute, func(n int) []string {
		return []string{"-tags=vmtest", "-run=^TestKills$", "./test/vm", "-args", "-kills=10", fmt.Sprintf("-seed=%d", n+1)}
	}},
	{"memory", "50 commands each that take more memory than the guest has, in guests of 512 MiB and of 1 GiB", 10, 5 * time.Minute, func(n int) []string {
		return []string{"-tags=vmtest", "-run=^TestG7$", "./test/vm", "-args", "-hogs=10", "-memory=" + []string{"512M", "1G"}[n%2], fmt.Sprintf("-seed=%d", n+1)}
	}},
	{"root", "60 kills of the VMM in first boots, growth and trims of disks, with real guests", 6, 5 * time.Minute, func(n int) []string {
		return []string{"-tags=vmtest", "-run=^TestG6$", "./test/vm", "-args", "-cuts=10", fmt.Sprintf("-seed=%d", n+1)}
	}},
	{"tree", "100,000 entries written by a builder's guest, and by mke2fs, and compared in another guest", 1, 10 * time.Minute, func(int) []string {
		return []string{"-tags=vmtest", "-run=^(TestManyEntries|TestPlain)$", "./internal/builder", "-args", "-entries=100000"}
	}},
	{"errors", "36 errors of a VM's disk, at some write or flush, told to the guest or not, and a cut of the power, with real guests", 6, 5 * time.Minute, func(n int) []string {
		return []string{"-tags=vmtest", "-run=^TestG6Errors$", "./test/vm", "-args", "-errors=6", fmt.Sprintf("-seed=%d", n+1)}
	}},
	{"day", "a day's work in a guest, offline: a kernel module, Go, PostgreSQL, Docker, docker-compose, BuildKit, Podman, Ansible", len(daySteps), 14 * time.Minute, func(n int) []string {
		return []string{"-tags=smoketest", "-run=^Test$/^day-" + daySteps[n] + "$/^qemu$", "./test/smoke/scenario"}
	}},
	{"network", "a guest's network with real clients and servers: git, apt-get, pip, npm, go, mail, PostgreSQL's beginning; Docker and Podman", len(netSteps), 14 * time.Minute, func(n int) []string {
		return []string{"-tags=smoketest", "-run=^Test$/^net-" + netSteps[n] + "$/^qemu$", "./test/smoke/scenario"}
	}},
	{"fuzz", "each fuzz target with 300,000 inputs", len(fuzzTargets()), 5 * time.Minute, func(n int) []string {
		t := fuzzTargets()[n]
		return []string{"-run=^$", "-fuzz=^" + t.name + "$", "-fuzztime=300000x", "-fuzzminimizetime=10x", "-parallel=2", "./" + t.pkg}
	}},
}

// daySteps are scenarios of test/smoke, which run on this machine as they do in the
// test host.
var daySteps = []string{"build", "postgresql", "docker", "podman", "ansible"}

// netSteps are such scenarios too.
var netSteps = []string{"proof", "docker", "mirrors"}

// life is a test of package test/life, with flags of its own.
func life(test string, flags ...string) []string {
	return append([]string{"-tags=standin", "-parallel=4", "-run=^" + test + "$", "./test/life", "-args"}, flags...)
}

// env is what the tests of all parts need.
func (part) env() []string {
	bin, err := filepath.Abs("bin")
	if err != nil {
		panic(err) // there is no working directory
	}
	return []string{"BANGER_TEST_BIN=" + bin, "BANGER_TEST_IMAGE=" + day.Image}
}

// find returns the part of that name.
func find(name string) (part, error) {
	var known []string
	for _, p := range parts {
		if p.name == name {
			return p, nil
		}
		known = append(known, p.name)
	}
	return part{}, fmt.Errorf("no part is called %q: there are %s", name, strings.Join(known, ", "))
}

// target is a fuzz target.
type target struct{ pkg, name string }

// fuzzTargets are those of the tests below internal.
func fuzzTargets() (out []target) {
	files, _ := filepath.Glob("internal/*/*_test.go") // the pattern is well-formed
	deeper, _ := filepath.Glob("internal/*/*/*_test.go")
	for _, file := range append(files, deeper...) {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // go test says why
		}
		for line := range strings.Lines(string(text)) {
			if rest, found := strings.CutPrefix(line, "func Fuzz"); found {
				name, _, _ := strings.Cut(rest, "(")
				out = append(out, target{filepath.Dir(file), "Fuzz" + name})
			}
		}
	}
	return out
}
