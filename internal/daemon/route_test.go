package daemon

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/api"
	"banger/internal/hint"
	"banger/internal/instance"
	"banger/internal/progress"
	"banger/internal/store"
	"banger/internal/vm"
)

// Every row of the API has one handler, in the table's order, and no handler
// answers anything else.
func TestHandlers(t *testing.T) {
	handlers := (&Daemon{}).handlers()
	for n, r := range api.Routes {
		if n >= len(handlers) || handlers[n].route != r {
			t.Fatalf("row %d of the API, %s, has no handler at its place", n, r.Name)
		}
	}
	if len(handlers) != len(api.Routes) {
		t.Errorf("%d handlers for %d rows", len(handlers), len(api.Routes))
	}
}

// Who reports a step is never held up by a caller that does not read.
func TestStreamDoesNotBlock(t *testing.T) {
	s := newStream()
	begin := time.Now()
	for n := range 100_000 {
		s.step(progress.Step{Stage: "image", Text: fmt.Sprint(n)})
	}
	s.step(progress.Step{Notice: "kept"})
	s.step(progress.Step{Stage: "boot", Text: "last"})
	s.put(api.Event{Result: []byte("1")}, true)
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("100,000 steps took %v", took)
	}
	w := httptest.NewRecorder()
	s.write(w)
	got := w.Body.String()
	for _, want := range []string{`"99999"`, `"kept"`, `"last"`, `"result":1`} {
		if !strings.Contains(got, want) {
			t.Errorf("the answer has no %s: %s", want, got)
		}
	}
	if n := strings.Count(got, "\n"); n != 4 {
		t.Errorf("the answer has %d lines, want the newest of each stage:\n%s", n, got)
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		err  error
		code api.Code
	}{
		{&api.Fault{Code: api.CodeVersion}, api.CodeVersion},
		{fmt.Errorf("wrapped: %w", &api.Fault{Code: api.CodeVersion}), api.CodeVersion},
		{&instance.BootError{Name: "a", Ending: vm.Ending{Cause: vm.CauseBoot}}, api.CodeBoot},
		{&instance.StateError{Name: "a", State: vm.Running, Verb: "deleted"}, api.CodeState},
		{&instance.EndedByError{Name: "a", Verb: "start", By: "stop"}, api.CodeEnded},
		{&instance.MemoryError{WantMiB: 1}, api.CodeMemory},
		{&instance.ImageInUseError{Ref: "a", VMs: []string{"b"}}, api.CodeState},
		{instance.ErrNotFound, api.CodeNotFound},
		{store.ErrNameTaken, api.CodeExists},
		{fmt.Errorf("x: %w", unix.ENOSPC), api.CodeNoSpace},
		{fmt.Errorf("x: %w", unix.EROFS), api.CodeReadOnly},
		{hint.Missing(errors.New("no qemu"), "install it"), api.CodeMissing},
		{hint.Add(errors.New("odd"), "a hint changes no code"), api.CodeInternal},
	} {
		if f := toFault(c.err, "op"); f.Code != c.code {
			t.Errorf("the code of %v is %q, want %q", c.err, f.Code, c.code)
		}
	}
}
