package main

import (
	"fmt"
	"time"
)

const (
	fuzzBudget = 45 * time.Second // for all targets together
	fuzzLeast  = time.Second      // for one
	fuzzMost   = 3 * time.Second
)

// fuzz runs each fuzz target for its share of the budget; go test runs one
// target of one package at a time.
func fuzz(c *count) {
	targets, err := fuzzTargets("internal")
	if err != nil || len(targets) == 0 {
		say("FAIL find the fuzz targets: %v", err)
		c.fail("find the fuzz targets")
		return
	}
	each := min(max(fuzzBudget/time.Duration(len(targets)), fuzzLeast), fuzzMost)
	say("%d fuzz targets, %v each", len(targets), each)
	for _, t := range targets {
		goTest(c, []string{"CGO_ENABLED=0"}, "-run=^$", "-fuzz=^"+t.name+"$", fmt.Sprintf("-fuzztime=%v", each), "-parallel=2", "./"+t.pkg)
	}
}

// fuzzTargets finds func Fuzz… in the tests below dir. (go test -list would
// link every package's tests only to be asked.)
func fuzzTargets(dir string) ([]test, error) {
	return functions(dir, "Fuzz", func([]byte) bool { return true })
}
