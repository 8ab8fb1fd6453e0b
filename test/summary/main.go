// Summary runs the tiers one after the other, says what goes on while they run,
// and closes with what passed, failed and was skipped, and why.
//
//	go run ./test/summary [-run REGEXP] [TIER…]
//
// Without tiers it runs all but those that take long, which run where they are
// named. The last line is alone on its line:
// "N passed, N failed, N skipped". The exit status is 1 where something failed
// or a tier that has tests ran none.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// count is what became of a tier's tests. Only leaves count: a test with
// subtests is their sum.
type count struct {
	passed, failed, skipped int
	reasons                 []string            // of skips: "NAME: reason"
	failures                []string            // names
	why                     map[string][]string // the first messages of a failure, by its name
}

func (c *count) fail(name string) { c.failed++; c.failures = append(c.failures, name) }
func (c *count) skip(name, reason string) {
	c.skipped++
	c.reasons = append(c.reasons, name+": "+reason)
}

// tier is a kind of test, by what it needs.
type tier struct {
	name string
	run  func(c *count)
	// none says why there is nothing to run yet, or none but where it is named.
	none string
	// long tiers run where they are named.
	long bool
}

func main() {
	only := flag.String("run", "", "of the tiers script, vm and smoke, the scripts whose name matches")
	fresh := flag.Bool("fresh", false, "of the tier smoke: get kernel and image in the test host")
	flag.Parse()
	all := tiers(*only, *fresh)
	var known []string
	for _, t := range all {
		known = append(known, t.name)
	}
	for _, name := range flag.Args() {
		if !slices.Contains(known, name) {
			fmt.Fprintf(os.Stderr, "summary: no tier is called %q: there are %s\n", name, strings.Join(known, ", "))
			os.Exit(2)
		}
	}
	begin := time.Now()
	var table, notes []string
	var total count
	for _, t := range all {
		if flag.NArg() > 0 && !slices.Contains(flag.Args(), t.name) {
			continue
		}
		start := time.Now()
		var c count
		none := t.none
		if t.run != nil && (!t.long || flag.NArg() > 0) {
			none = ""
			say("== %s", t.name)
			t.run(&c)
			if c.passed+c.failed == 0 {
				say("FAIL %s: no test ran", t.name)
				c.fail("no test ran")
			}
		}
		table = append(table, fmt.Sprintf("%-7s %5d passed %4d failed %4d skipped %6.0f s  %s", t.name, c.passed, c.failed, c.skipped, time.Since(start).Seconds(), none))
		for _, f := range c.failures {
			notes = append(notes, "failed:  "+t.name+": "+f)
			for _, line := range c.why[f] {
				notes = append(notes, "         "+line)
			}
		}
		for _, r := range c.reasons {
			notes = append(notes, "skipped: "+t.name+": "+r)
		}
		total.passed += c.passed
		total.failed += c.failed
		total.skipped += c.skipped
	}
	fmt.Printf("\n%s\n", strings.Join(table, "\n"))
	for _, n := range notes {
		fmt.Println(n)
	}
	fmt.Printf("all in %.0f s\n%d passed, %d failed, %d skipped\n", time.Since(begin).Seconds(), total.passed, total.failed, total.skipped)
	if total.failed > 0 {
		os.Exit(1)
	}
}

// started is when the run began, for the time at the head of each line.
var started = time.Now()

// say prints a line of progress.
func say(format string, args ...any) {
	fmt.Printf("%4.0f s  %s\n", time.Since(started).Seconds(), fmt.Sprintf(format, args...))
}
