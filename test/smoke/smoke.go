package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"banger/test/day"
	"banger/test/smoke/testhost"
)

const (
	// usualLimit bounds a run, dayLimit one with a day's work, or that repeats something.
	usualLimit = 60 * time.Minute
	dayLimit   = 3 * time.Hour
	// builtBin has the programs as make build leaves them.
	builtBin = "bin"
	// leaveLimit bounds what is fetched from the test host at the end.
	leaveLimit = time.Minute
	// atOnce is how many scenarios run at once: the host has one processor.
	atOnce = 1
	// coverDir collects counters in the test host; it outlives a reboot.
	coverDir = "/var/tmp/coverage"
	// scenarios is where the scenarios' tests run.
	scenarios = testhost.Handed + "/scenario"
)

// options are the program's own flags.
type options struct {
	only, coverage string
	fresh          bool
	memMiB         int // of the test host; 0 is its usual one
}

// smoke is a whole run.
func smoke(ctx context.Context, o options) (err error) {
	all, err := readList(o.only)
	if err != nil {
		return err
	}
	limit := all.limit()
	var images []string
	if all.image {
		images = []string{day.Image}
		if err := day.Ensure(ctx, builtBin+"/banger"); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the run took more than %v", limit))
	defer cancel()
	fc := testhost.Firecracker()
	if err := build(ctx); err != nil {
		return err
	}
	hand := testhost.Hand{"bin": binDir, "scenario": scenarioDir, "scenario/scenario.test": scenarioFile, "contract": contractDir}
	if !o.fresh {
		if err := hand.AddArtifacts(images...); err != nil {
			return err
		}
	}
	if fc != "" {
		hand["bin/firecracker"] = fc
		version, err := exec.CommandContext(ctx, fc, "--version").Output()
		if err != nil {
			return fmt.Errorf("ask %q for its version: %w", fc, err)
		}
		line, _, _ := strings.Cut(string(version), "\n")
		say("%s", line)
	} else {
		say("no Firecracker ($BANGER_TEST_FIRECRACKER, PATH): its scenarios are skipped")
	}
	for hosts := 1; ; hosts++ {
		err = oneHost(ctx, o, hand, all)
		if !errors.Is(err, errPanicked) || hosts == maxHosts {
			return err
		}
		say("%v: what has not ended there runs in another one", err)
	}
}

// errPanicked is the end of a test host that is not the doing of what is tested
// in it: QEMU 7.2's emulation of SVM, more so with several processors, now and then
// lets the host's own kernel fault between two instructions. A kernel
// that an ordinary user's programs can't break is not broken by ours.
var errPanicked = errors.New("the test host's own kernel panicked")

// maxHosts bounds how many test hosts a run boots.
const maxHosts = 4

// oneHost runs what has not ended yet in a test host of its own.
func oneHost(ctx context.Context, o options, hand testhost.Hand, l *list) (err error) {
	h, err := testhost.Boot(ctx, testhost.Options{MemMiB: o.memMiB, Hand: hand, Bin: binDir, Say: say})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	go func() { // ends with the host
		select {
		case <-h.Panicked():
			fail(errPanicked)
		case <-ctx.Done():
		}
	}()
	r := &run{host: h, list: l, fresh: o.fresh}
	if err = r.all(ctx); ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if output.failed || err != nil {
		say("the end of the test host's console:\n%s", lastLines(h.Console(), 40))
	}
	// Also of a run that failed or was ended.
	select {
	case <-h.Panicked():
		return err
	default:
	}
	leave, done := context.WithTimeout(context.WithoutCancel(ctx), leaveLimit)
	defer done()
	if ferr := r.fetchCoverage(leave, o.coverage); err == nil {
		err = ferr
	}
	if err == nil && output.failed {
		err = errors.New("scenarios failed")
	}
	return err
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
