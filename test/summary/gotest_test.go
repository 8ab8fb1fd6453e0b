package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// read feeds lines of go test -json, as Go 1.26 writes them, to a reader.
func read(t *testing.T, lines string) count {
	t.Helper()
	var c count
	r := newReader(&c)
	for line := range strings.Lines(lines) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		r.event(e)
	}
	r.packages()
	return c
}

func TestReader(t *testing.T) {
	for name, c := range map[string]struct {
		lines string
		want  count
	}{
		"leaves count, parents don't": {`
{"Action":"run","Package":"banger/a","Test":"T"}
{"Action":"run","Package":"banger/a","Test":"T/x"}
{"Action":"run","Package":"banger/a","Test":"T/y"}
{"Action":"run","Package":"banger/a","Test":"T/y/z"}
{"Action":"pass","Package":"banger/a","Test":"T/y/z"}
{"Action":"pass","Package":"banger/a","Test":"T/y"}
{"Action":"pass","Package":"banger/a","Test":"T/x"}
{"Action":"pass","Package":"banger/a","Test":"T"}
{"Action":"pass","Package":"banger/a"}`, count{passed: 2}},
		"a skip has a reason": {`
{"Action":"run","Package":"banger/a","Test":"T"}
{"Action":"output","Package":"banger/a","Test":"T","Output":"=== RUN   T\n"}
{"Action":"output","Package":"banger/a","Test":"T","Output":"    a_test.go:7: no KVM here\n"}
{"Action":"output","Package":"banger/a","Test":"T","Output":"--- SKIP: T (0.00s)\n"}
{"Action":"skip","Package":"banger/a","Test":"T"}
{"Action":"pass","Package":"banger/a"}`, count{skipped: 1, reasons: []string{"a T: a_test.go:7: no KVM here"}}},
		"a failure counts once": {`
{"Action":"run","Package":"banger/a","Test":"T"}
{"Action":"run","Package":"banger/a","Test":"T/x"}
{"Action":"fail","Package":"banger/a","Test":"T/x"}
{"Action":"fail","Package":"banger/a","Test":"T"}
{"Action":"fail","Package":"banger/a"}`, count{failed: 1, failures: []string{"a T/x"}}},
		"a parent that fails by itself": {`
{"Action":"run","Package":"banger/a","Test":"T"}
{"Action":"run","Package":"banger/a","Test":"T/x"}
{"Action":"pass","Package":"banger/a","Test":"T/x"}
{"Action":"fail","Package":"banger/a","Test":"T"}
{"Action":"run","Package":"banger/a","Test":"U"}
{"Action":"fail","Package":"banger/a","Test":"U"}
{"Action":"fail","Package":"banger/a"}`, count{passed: 1, failed: 2, failures: []string{"a T", "a U"}}},
		"a parent that fails by itself after another test": {`
{"Action":"run","Package":"banger/a","Test":"U"}
{"Action":"fail","Package":"banger/a","Test":"U"}
{"Action":"run","Package":"banger/a","Test":"T"}
{"Action":"run","Package":"banger/a","Test":"T/x"}
{"Action":"pass","Package":"banger/a","Test":"T/x"}
{"Action":"fail","Package":"banger/a","Test":"T"}
{"Action":"fail","Package":"banger/a"}`, count{passed: 1, failed: 2, failures: []string{"a U", "a T"}}},
		"a package that can't be built": {`
{"ImportPath":"banger/a","Action":"build-output","Output":"a.go:1: oh\n"}
{"ImportPath":"banger/a","Action":"build-fail"}
{"Action":"start","Package":"banger/a"}
{"Action":"output","Package":"banger/a","Output":"FAIL\tbanger/a [build failed]\n"}
{"Action":"fail","Package":"banger/a","FailedBuild":"banger/a"}`, count{failed: 1, failures: []string{"a"}}},
		"a package that fails after its tests": {`
{"Action":"run","Package":"banger/a","Test":"T"}
{"Action":"pass","Package":"banger/a","Test":"T"}
{"Action":"output","Package":"banger/a","Output":"goleak: Errors on successful test run: found unexpected goroutines\n"}
{"Action":"fail","Package":"banger/a"}`, count{passed: 1, failed: 1, failures: []string{"a"}}},
		"a panic": {`
{"Action":"run","Package":"banger/a","Test":"T"}
{"Action":"output","Package":"banger/a","Test":"T","Output":"panic: oh\n"}
{"Action":"fail","Package":"banger/a","Test":"T"}
{"Action":"fail","Package":"banger/a"}`, count{failed: 1, failures: []string{"a T"}}},
		"a test that never ended": {`
{"Action":"run","Package":"banger/a","Test":"T"}
{"Action":"output","Package":"banger/a","Test":"T","Output":"=== RUN   T\n"}
{"Action":"output","Package":"banger/a","Output":"signal: killed\n"}
{"Action":"fail","Package":"banger/a"}`, count{failed: 1, failures: []string{"a T did not end"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := read(t, strings.TrimSpace(c.lines))
			got.why = nil // TestExplain's
			if d := cmp.Diff(c.want, got, cmp.AllowUnexported(count{})); d != "" {
				t.Errorf("counts (-want +got):\n%s", d)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	var c count
	c.explain("a T", "=== RUN T\n    a_test.go:7: what went wrong\n        more of it\nsome log\n    b_test.go:9: and then\n--- FAIL: T\n")
	want := []string{"a_test.go:7: what went wrong", "b_test.go:9: and then", "--- FAIL: T"}
	if d := cmp.Diff(want, c.why["a T"]); d != "" {
		t.Errorf("explained (-want +got):\n%s", d)
	}
}
