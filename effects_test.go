package banger_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// effectRooms are the packages whose effects are points of fault.
var effectRooms = []string{"internal/instance", "internal/daemon", "internal/supervisor"}

// effects are the calls that change something outside of the process. A name
// without a package is a method's.
var effects = strings.Fields(`
	os.Mkdir os.MkdirAll os.Remove os.RemoveAll os.Rename os.WriteFile os.Create os.Symlink os.Link os.Truncate
	durable.Replace durable.Mkdir disk.Create disk.Remove
	store.WriteFile .Insert .InsertRestored .Save .Delete
	image.Prune kernel.Prune .Put .Discard .Restore .Empty
	supervisor.TakeLock supervisor.Spawn
	launch.Start unixsock.Listen unixsock.ListenFresh unix.Kill`)

// noEffects are functions whose effects need no point, with the reason.
var noEffects = map[string]string{
	"internal/daemon Open":             "the daemon's own start: a fault there is a daemon that does not start",
	"internal/daemon openLog":          "the same",
	"internal/daemon Serve":            "the daemon's own end",
	"internal/daemon keepSocket":       "tried again each second",
	"internal/daemon deleteVM":         "calls the verb",
	"internal/daemon restoreTrash":     "calls the verb",
	"internal/daemon fixState":         "banger doctor --fix: it is typed again",
	"internal/instance Open":           "the daemon's own start",
	"internal/instance dropRows":       "tried again each second",
	"internal/instance Prune":          "calls the verb",
	"internal/instance watchHolder":    "calls the verb",
	"internal/supervisor saveCoverage": "only in builds with counters",
	"internal/supervisor copyStream":   "a pool of buffers: nothing outside of the process",
}

// An effect that a fault can't be put to is one whose failure no test has seen.
func TestEveryEffectIsAPointOfFault(t *testing.T) {
	for _, room := range effectRooms {
		files, err := filepath.Glob(filepath.Join(room, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files in %s: %v", room, err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || fn.Body == nil || noEffects[room+" "+fn.Name.Name] != "" {
					continue
				}
				for _, call := range unguarded(fn.Body) {
					t.Errorf("%s: the effect %s is no point of fault: wrap it in fault.Do", fset.Position(call.Pos()), callName(call))
				}
			}
		}
	}
}

// unguarded are the effects below n that are in no fault.Do.
func unguarded(n ast.Node) (out []*ast.CallExpr) {
	ast.Inspect(n, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		name := callName(call)
		if name == "fault.Do" {
			return false
		}
		for _, e := range effects {
			if name == e || strings.HasPrefix(e, ".") && strings.HasSuffix(name, e) && strings.Count(name, ".") == 1 && !strings.HasPrefix(name, "slices.") {
				out = append(out, call)
			}
		}
		return true
	})
	return out
}

// callName is the last two names of what is called, as "os.Remove".
func callName(call *ast.CallExpr) string {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	switch x := sel.X.(type) {
	case *ast.Ident:
		return x.Name + "." + sel.Sel.Name
	case *ast.SelectorExpr:
		return x.Sel.Name + "." + sel.Sel.Name
	}
	return "." + sel.Sel.Name
}
