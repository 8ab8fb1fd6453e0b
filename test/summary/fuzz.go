package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
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
	var targets []test
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Fuzz") {
				targets = append(targets, test{filepath.Dir(path), fn.Name.Name})
			}
		}
		return nil
	})
	return targets, err
}
