//go:build standin

package life

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"banger/internal/api"
	"banger/internal/vm"
)

var (
	seed     = flag.Uint64("seed", 0, "seed of what is chosen; 0 is one of the clock's")
	patience = flag.Duration("patience", time.Minute, "the longest wait for something that must come")
	full     = flag.Bool("full", false, "every mode at every point, instead of one that the seed chooses")
	slice    = flag.String("slice", "0/1", "the part of a long test to run, N/OF: those whose number is N modulo OF")
)

// inSlice reports whether the case of that number is to be run.
func inSlice(t testing.TB, number int) bool {
	var n, of int
	if _, err := fmt.Sscanf(*slice, "%d/%d", &n, &of); err != nil || of < 1 {
		t.Fatalf("-slice %q: %v", *slice, err)
	}
	return number%of == n
}

// random prints the seed that it begins with, so that a run can be repeated.
func random(t testing.TB) *rand.Rand {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("go test -args -seed %d", s)
	return rand.New(rand.NewPCG(s, 0))
}

var modes = []string{"crash-before", "crash-after", "EIO", "ENOSPC", "EPERM", "hang"}

// elsewhere are points that no verb reaches here, with the reason.
var elsewhere = map[string]string{
	"base.image":         "only a VM with a kernel has an image; the stand-in boots nothing",
	"base.kernel":        "the same",
	"image.delete":       "the same",
	"network.log":        "reached only after a MiB of denials",
	"start.undo":         "reached only after another fault of the same start, which is tried",
	"workspace.giveBack": "reached only after another fault of the same prepare, which is tried",
}

// points are the names of all points of fault in the source, and supervised those
// in the supervisor's package.
func points(t testing.TB) (out []string, supervised map[string]bool) {
	supervised = map[string]bool{}
	for _, root := range []string{"../../internal", "../../cmd"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					if name := pointName(call); name != "" {
						out = append(out, name)
						supervised[name] = strings.Contains(path, "/supervisor/")
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(out)
	if n := len(slices.Compact(slices.Clone(out))); n != len(out) {
		t.Fatalf("a point's name is not unique: %q", out)
	}
	return out, supervised
}

// pointName is the name in a call fault.Do("name", …), or "".
func pointName(call *ast.CallExpr) string {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != "Do" || len(call.Args) == 0 {
		return ""
	}
	if pkg, ok := sel.X.(*ast.Ident); !ok || pkg.Name != "fault" {
		return ""
	}
	lit, ok := call.Args[0].(*ast.BasicLit)
	if !ok {
		return ""
	}
	name, _ := strconv.Unquote(lit.Value)
	return name
}

// spoil leaves behind what crashes leave: no database, sockets of a run that is
// gone, a create that was cut early, and one that was cut late.
func spoil(w *world) {
	for _, name := range glob(filepath.Join(w.state(), "banger.db*")) {
		os.Remove(name)
	}
	for _, name := range glob(filepath.Join(w.state(), "vms", "*", "vm.json")) {
		text, err := os.ReadFile(name)
		var rec vm.Record
		if err != nil || json.Unmarshal(text, &rec) != nil || rec.State != vm.Stopped {
			continue
		}
		os.Mkdir(filepath.Join(filepath.Dir(name), "run"), 0o700)
		rec.ID, rec.Spec.Name, rec.ImageDigest, rec.State = vm.NewID(), "half", "", vm.Created
		if text, err = json.Marshal(rec); err != nil {
			w.t.Fatal(err)
		}
		half, orphan := w.vmDir(rec.ID), w.vmDir(vm.NewID())
		for _, dir := range []string{half, orphan} {
			if err := os.Mkdir(dir, 0o700); err != nil {
				w.t.Fatal(err)
			}
			os.WriteFile(filepath.Join(dir, "disk"), nil, 0o600)
		}
		os.WriteFile(filepath.Join(half, "vm.json"), text, 0o600)
	}
	stray := filepath.Join(w.state(), "work", string(vm.NewID())+"-1")
	if err := os.Mkdir(stray, 0o700); err != nil {
		w.t.Fatal(err)
	}
}

// TestFaults runs each verb with a fault at each point that it reaches, starts
// the daemon again, and counts what is there. It reaches all points that the
// source has.
func TestFaults(t *testing.T) {
	t.Parallel()
	r := random(t)
	reached := map[string]bool{}
	type job struct {
		c           verbCase
		point, mode string
	}
	var jobs []job
	all, supervised := points(t)
	for _, c := range verbCases {
		for _, point := range trace(t, c) {
			reached[point] = true
			chosen := modes
			if !*full {
				chosen = []string{modes[r.IntN(len(modes))]}
			}
			for _, mode := range chosen {
				jobs = append(jobs, job{c, point, mode})
			}
		}
	}
	for _, p := range all {
		if !reached[p] && elsewhere[p] == "" {
			t.Errorf("point %s is reached by no verb", p)
		}
	}
	tried := 0
	t.Run("points", func(t *testing.T) {
		for n, j := range jobs {
			if !inSlice(t, n) {
				continue
			}
			tried++
			t.Run(fmt.Sprintf("%s/%s/%s", j.c.name, j.point, j.mode), func(t *testing.T) {
				t.Parallel()
				runFault(t, j.c, j.point, j.mode, supervised[j.point])
			})
		}
	})
	t.Logf("figures: %d points in the source, %d reached here; %d faults tried", len(all), len(reached), tried)
}

// trace returns the points that a verb reaches when nothing goes wrong.
func trace(t *testing.T, c verbCase) []string {
	w := newWorld(t)
	w.mustStart()
	w.prepare(c)
	w.stop()
	if c.spoil != nil {
		c.spoil(w)
	}
	file := filepath.Join(w.dir, "trace")
	// Supervisors of earlier runs don't trace: the end of a run is traced by one
	// that was started with it.
	w.mustStart("BANGER_FAULT_TRACE=" + file)
	if c.before == vm.Running {
		kill(w)
		if err := start(w); err != nil {
			t.Fatal(err)
		}
		os.Truncate(file, 0)
	}
	if err := c.do(w.ctx(), w.client); err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	if v := w.show("a"); v != nil && v.State == vm.Running { // the run's end has points too
		w.behave(v.ID, "")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := strings.Fields(string(text))
	slices.Sort(out)
	return slices.Compact(out)
}

// prepare brings VM a into the state that the verb finds, beside VM b, which runs
// and must go on.
func (w *world) prepare(c verbCase) (b api.VM) {
	w.t.Helper()
	b = w.create("b", true)
	if c.before == gone {
		return b
	}
	v := w.create("a", true)
	w.behave(v.ID, c.behaviour)
	if c.workspace {
		if err := giveWorkspace(w.ctx(), w.client); err != nil {
			w.t.Fatal(err)
		}
		w.edit(v)
	}
	if c.before != vm.Running {
		end := stop
		if c.workspace { // nobody saved it
			end = kill
		}
		if err := end(w); err != nil {
			w.t.Fatal(err)
		}
	}
	if c.before == trash {
		if _, err := w.client.DeleteVM(w.ctx(), "a", api.Delete{}, nil); err != nil {
			w.t.Fatal(err)
		}
	} else {
		w.write(v)
	}
	return b
}

// work is what a user has on a VM's disk.
const work = "the user's work"

// write puts it there.
func (w *world) write(v api.VM) {
	w.t.Helper()
	f, err := os.OpenFile(filepath.Join(w.vmDir(v.ID), "disk"), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte(work), 0)
		f.Close()
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// hasWork reports what is wrong with a VM's disk, or "".
func (w *world) hasWork(v api.VM) string {
	f, err := os.Open(filepath.Join(w.vmDir(v.ID), "disk"))
	if err != nil {
		return fmt.Sprintf("the disk of %s is lost: %v", v.Name, err)
	}
	defer f.Close()
	text := make([]byte, len(work))
	if _, err := f.ReadAt(text, 0); err != nil || string(text) != work {
		return fmt.Sprintf("the disk of %s is lost: %.20q, %v", v.Name, text, err)
	}
	return ""
}

// runFault runs a verb with one fault, and then a daemon without. A fault of the
// supervisor's is hung only until a user kills the VM: nothing else may end what
// lives.
func runFault(t *testing.T, c verbCase, point, mode string, supervised bool) {
	w := newWorld(t)
	w.mustStart()
	b := w.prepare(c)
	w.stop()
	once := filepath.Join(w.dir, "once")
	fault := fmt.Sprintf("BANGER_FAULT=%s=%s@%s", point, mode, once)
	arm := func() {
		if err := os.WriteFile(once, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	limit := generous
	if mode == "hang" {
		limit = 3 * time.Second
	}
	if c.spoil != nil {
		c.spoil(w)
		arm()
		w.readyLimit = limit
		err := w.start(fault)
		w.readyLimit = 0
		t.Logf("the daemon: %v", err)
	} else {
		w.mustStart(fault)
		if c.before == vm.Running { // by a supervisor that knows of the fault
			kill(w)
			if err := start(w); err != nil {
				t.Fatal(err)
			}
		}
		arm()
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		err := c.do(ctx, w.client)
		cancel()
		t.Logf("the verb: %v", err)
		if f := (*api.Fault)(nil); errors.As(err, &f) && f.Message == "" {
			t.Errorf("the verb's error has no words: %+v", f)
		}
	}
	os.Remove(once) // it is there if the point comes with the end of the run only
	w.kill9()
	w.mustStart()
	if supervised && mode == "hang" && w.show("a") != nil {
		if err := kill(w); err != nil && code(err) != api.CodeNotFound {
			t.Errorf("kill: %v", err)
		}
		c.after = append(slices.Clone(c.after), vm.Stopped)
	}
	if supervised && strings.HasPrefix(mode, "crash") { // which ends its VM
		c.after = append(slices.Clone(c.after), vm.Stopped, vm.Error)
	}
	w.eventually(func() string { return w.settled(c, b) })
}

// settled reports what is not as it should be after a fault.
func (w *world) settled(c verbCase, b api.VM) string {
	if text := w.census(); text != "" {
		return text
	}
	if now := w.show("b"); now == nil || now.State != vm.Running || now.BootID != b.BootID {
		return fmt.Sprintf("the VM beside it is %+v", now)
	}
	state := gone
	v := w.show("a")
	if v != nil {
		state = v.State
	} else if list, err := w.client.ListTrash(w.ctx()); err != nil {
		return err.Error()
	} else if slices.ContainsFunc(list, func(e api.TrashEntry) bool { return e.Name == "a" }) {
		state = trash
	}
	if !slices.Contains(c.after, state) {
		return fmt.Sprintf("after %s, VM a is %s; want one of %q", c.name, state, c.after)
	}
	if v != nil && c.before != gone && c.before != trash {
		if text := w.hasWork(*v); text != "" {
			return text
		}
	}
	if c.workspace {
		return w.hasEdit(v)
	}
	return ""
}
