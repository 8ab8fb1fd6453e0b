package main

// fuzzTimes is how many inputs each target gets: a count, for where go test ends
// fuzzing by the clock it now and then calls the end of the time a failure.
const fuzzTimes = "10000x"

// fuzz runs each fuzz target; go test runs one target of one package at a time.
func fuzz(c *count) {
	targets, err := fuzzTargets("internal")
	if err != nil || len(targets) == 0 {
		say("FAIL find the fuzz targets: %v", err)
		c.fail("find the fuzz targets")
		return
	}
	say("%d fuzz targets, %s each", len(targets), fuzzTimes)
	for _, t := range targets {
		goTest(c, []string{"CGO_ENABLED=0"}, "-run=^$", "-fuzz=^"+t.name+"$", "-fuzztime="+fuzzTimes, "-fuzzminimizetime=10x", "-parallel=2", "./"+t.pkg)
	}
}

// fuzzTargets finds func Fuzz… in the tests below dir. (go test -list would
// link every package's tests only to be asked.)
func fuzzTargets(dir string) ([]test, error) {
	return functions(dir, "Fuzz", func([]byte) bool { return true })
}
