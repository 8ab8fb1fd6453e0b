package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// raceBin is where the programs with the race detector are built.
const raceBin = "build/race"

func tiers(only string, fresh bool) []tier {
	run := func(args ...string) []string {
		if only != "" {
			// go test takes what is between bars as patterns of their own.
			args = append(args, "-run", "^Test$/"+strings.ReplaceAll(only, "|", "|^Test$/"))
		}
		return args
	}
	return []tier{
		{name: "check", run: runChecks},
		{name: "unit", run: func(c *count) {
			env := []string{"CGO_ENABLED=1"}
			// What takes longest begins first, with the others beside it.
			goTest(c, env, "-race", "./internal/workspace", "./internal/...", "./cmd/...", "./test/summary", "./test/smoke", "./test/smoke/testhost", ".")
		}},
		{name: "life", run: func(c *count) {
			// The owner of VMs, supervisors and stand-in VMMs as real processes. What
			// starts many of them is done without the race detector.
			const many = "^(TestFaults|TestModel|TestFullDisk|TestRandom|TestPairs|TestDamagedRecords|TestUpgrade|TestCancel)$"
			standin := func(env []string, args ...string) {
				goTest(c, env, append([]string{"-tags=standin", "-timeout=30m", "-parallel=4"}, args...)...)
			}
			standin([]string{"CGO_ENABLED=1"}, "-race", "-skip="+many, "./test/life", "./internal/supervisor", "./internal/vmm/standin")
			standin(nil, "-parallel=8", "-run="+many, "./test/life")
		}},
		{name: "script", run: func(c *count) {
			// What several goroutines of a daemon do at once is best seen in the
			// daemon itself.
			if err := buildRace(); err != nil {
				say("FAIL script: build the programs with -race: %v", err)
				c.fail("build with -race")
				return
			}
			goTest(c, []string{"BANGER_TEST_BIN=" + abs(raceBin)}, run("-count=1", "-parallel=4", "./test/script")...)
		}},
		{name: "vm", run: func(c *count) {
			env := []string{"BANGER_TEST_BIN=" + abs("bin")}
			artifacts, err := prepareGuests()
			if err != nil {
				say("FAIL vm: get kernel and image: %v", err)
				c.fail("get kernel and image")
				return
			}
			goTest(c, env, run("-count=1", "-tags=vmtest", "-parallel=2", "-timeout=45m", "./test/vm")...)
			if only != "" {
				return
			}
			packages, err := guestTests("internal")
			if err != nil {
				say("FAIL vm: find the tests with guests: %v", err)
				c.fail("find the tests with guests")
			}
			// Two packages at a time, each with a guest: as many guests as above.
			var names, paths []string
			for _, pkg := range slices.Sorted(maps.Keys(packages)) {
				names, paths = append(names, packages[pkg]...), append(paths, "./"+pkg)
			}
			goTest(c, append(env, artifacts...), append([]string{"-count=1", "-tags=vmtest", "-p=2", "-parallel=1", "-timeout=15m",
				"-run=^(" + strings.Join(names, "|") + ")$"}, paths...)...)
		}},
		{name: "host", none: "no test needs root and a host's own devices yet"},
		{name: "smoke", long: true, none: "make smoke runs it", run: func(c *count) {
			if !fresh {
				if _, err := prepareGuests(); err != nil {
					say("FAIL smoke: get kernel and image: %v", err)
					c.fail("get kernel and image")
					return
				}
			}
			if err := command(nil, "go", "build", "-o", "build/smoke/smoke", "./test/smoke"); err != nil {
				say("FAIL smoke: build it: %v", err)
				c.fail("build")
				return
			}
			tests(c, nil, "build/smoke/smoke", "-run="+only, fmt.Sprintf("-fresh=%v", fresh))
		}},
	}
}

func abs(path string) string {
	p, err := filepath.Abs(path)
	if err != nil {
		panic(err) // there is no working directory
	}
	return p
}

// buildRace builds the host's programs with the race detector. The agent runs
// in guests, which have no C library for it.
func buildRace() error {
	if err := os.MkdirAll(raceBin, 0o755); err != nil {
		return err
	}
	if err := command([]string{"CGO_ENABLED=1"}, "go", "build", "-race", "-tags=standin", "-o", raceBin+"/", "./cmd/banger", "./cmd/bangerd"); err != nil {
		return err
	}
	return command([]string{"CGO_ENABLED=0"}, "go", "build", "-o", raceBin+"/", "./cmd/banger-agent")
}

// command runs a program whose output is shown only where it fails.
func command(env []string, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}
