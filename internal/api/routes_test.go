package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Every route has a name, a path and a summary of its own, and is reached by
// exactly one method of Client. A route without a method would be a call that
// no program of ours can make.
func TestRoutes(t *testing.T) {
	mux := http.NewServeMux()
	reached := map[string][]string{}
	method := ""
	names, paths := map[string]bool{}, map[string]bool{}
	for _, r := range Routes {
		if names[r.Name] || paths[r.Method+r.Path] || r.Summary == "" || !strings.HasPrefix(r.Path, "/v1/") {
			t.Errorf("the route %+v repeats another one, or lacks something", *r)
		}
		names[r.Name], paths[r.Method+r.Path] = true, true
		mux.HandleFunc(r.Method+" "+r.Path, func(w http.ResponseWriter, _ *http.Request) {
			reached[r.Name] = append(reached[r.Name], method)
			if r.Kind == Events {
				io.WriteString(w, `{"result":{}}`)
			}
		})
	}
	c := serve(t, mux.ServeHTTP)
	v := reflect.ValueOf(c)
	for i := range v.NumMethod() {
		if m := v.Method(i); m.Type().NumIn() > 0 && m.Type().In(0) == reflect.TypeFor[context.Context]() {
			method = v.Type().Method(i).Name
			call(t, method, m)
		}
	}
	for _, r := range Routes {
		if len(reached[r.Name]) != 1 {
			t.Errorf("%s is reached by %v, want exactly one method of Client", r.Name, reached[r.Name])
		}
	}
}

// call calls a method of Client with the emptiest arguments that it takes.
func call(t *testing.T, name string, m reflect.Value) {
	t.Helper()
	in := []reflect.Value{reflect.ValueOf(t.Context())}
	for i := 1; i < m.Type().NumIn(); i++ {
		switch p := m.Type().In(i); {
		case p.Kind() == reflect.String:
			in = append(in, reflect.ValueOf("ref").Convert(p))
		case p == reflect.TypeFor[io.Writer]():
			in = append(in, reflect.ValueOf(io.Discard))
		default:
			in = append(in, reflect.Zero(p))
		}
	}
	out := m.Call(in)
	if err, _ := out[len(out)-1].Interface().(error); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// Every code has a status of its own kind: 4xx is the caller's, 5xx is ours.
func TestStatus(t *testing.T) {
	for _, code := range []Code{CodeInvalid, CodeNotFound, CodeAmbiguous, CodeExists, CodeState, CodeMissing, CodeNoSpace, CodeMemory, CodeReadOnly,
		CodeDamaged, CodeSilent, CodeEnded, CodeBoot, CodeCancelled, CodeVersion, CodeInternal} {
		if _, known := status[code]; !known || Status(code)/100 < 4 {
			t.Errorf("code %q has the status %d", code, Status(code))
		}
	}
	if got := Status("nosuch"); got != http.StatusInternalServerError {
		t.Errorf("an unknown code has the status %d, want 500", got)
	}
}

// The input of GET and DELETE is written as a query, so it has plain fields.
func TestQueriesArePlain(t *testing.T) {
	for _, in := range []any{Delete{}, WaitFor{}, Logs{}} {
		for i := range reflect.TypeOf(in).NumField() {
			f := reflect.TypeOf(in).Field(i)
			if !slices.Contains([]reflect.Kind{reflect.Bool, reflect.String, reflect.Int, reflect.Int64}, f.Type.Kind()) {
				t.Errorf("%s of %s is a %v, which a query can't hold", f.Name, fmt.Sprintf("%T", in), f.Type)
			}
		}
	}
}
