// Smoke runs the scenarios in a test host with real KVM: it builds the programs
// with counters of coverage, boots the host once, runs every scenario of
// test/smoke/scenario in it, and prints what go test -json would; other lines
// are progress.
//
//	go run ./test/smoke [-run REGEXP] [-coverage DIR] [-fresh] [-mem MiB]
//	go run ./test/smoke -build      the programs alone, into build/smoke/bin
//	go run ./test/smoke -compare    coverage of the last run beside the unit tests'
//
// Image and kernel of VMs have to be in the user's cache, but for -fresh.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	only := flag.String("run", "", "the scenarios whose name, NAME/VMM, matches")
	coverage := flag.String("coverage", "coverage/smoke", "where counters of coverage go")
	buildOnly := flag.Bool("build", false, "build the programs and end")
	compare := flag.Bool("compare", false, "print coverage by package, here and of the unit tests (coverage/unit)")
	fresh := flag.Bool("fresh", false, "hand in no image and no kernel: the test host gets its own, which takes minutes")
	mem := flag.Int("mem", 0, "the test host's memory in MiB (default 8192)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	var err error
	switch {
	case *compare:
		err = compareCoverage("coverage/unit", *coverage)
	case *buildOnly:
		err = build(ctx)
	default:
		err = smoke(ctx, options{*only, *coverage, *fresh, *mem})
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "smoke:", err)
		os.Exit(1)
	}
}
