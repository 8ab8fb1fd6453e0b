// Package harness runs txtar scripts against the built programs: each with
// directories of its own, each with a limit, and each searched for leftovers
// when it ends: processes, sockets, files, VMs.
//
// A script is named by the promise that it proves. Lines of its comment say
// what it needs:
//
//	# guests 2    VMs that run at once; the tier never has more than two
//	# guests 0    none runs, but the user's image and kernel are needed
//	# limit 4m    how long it may take, without the wait for its guests; as many times
//	              longer as it repeats something (see Repeat)
//	# vmm none    it runs once, and not for each VMM of the tier
//	# user NAME   it is for that user of a tier that has several
//	# image NAME  its VMs are made from that image, and it runs where it is asked for
//	# between logout
//	              what comes between its two halves (see Reboot); else it is a
//	              reboot
//
// In a tier with several VMMs a script runs once for each, told by $VMM. A
// script with a file "after" has two halves, between which something happens to
// the host: the file is the second one, and finds $WORK as the first one left
// it.
//
// Beside testscript's own commands there are those of the tables in this
// package. Programs that a script starts are told to keep everything below
// $WORK; images and kernels of a script with guests are the user's.
package harness

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sync/semaphore"
)

const (
	// maxGuests is how many VMs run at once, where a tier says nothing else: an
	// emulated one takes a core.
	maxGuests = 2
	// defaultLimit is what a script may take that says nothing else.
	defaultLimit = 2 * time.Minute
	// waitLimit bounds each wait of a script for something that must come.
	waitLimit = 90 * time.Second
	// cleanupLimit bounds what follows a script, whatever it left.
	cleanupLimit = 30 * time.Second
)

// Options say how a tier runs its scripts. The zero value is a tier on the
// user's own machine.
type Options struct {
	// VMMs are those that each script runs on, one after the other; none is
	// once, on whatever banger chooses.
	VMMs []VMM
	// Guests is how many VMs run at once; 0 is two.
	Guests int64
	// User, Between and Image choose scripts: those for that user; those with two
	// halves and that between them, or the others (""); those that want that image.
	// Phase is the half that runs, "before" or "after".
	User, Between, Phase, Image string
	// Host is set where the machine is the tier's alone: scripts have the
	// user's own runtime directory, in which a user manager answers, and
	// directories that outlive a reboot.
	Host bool
	// Papers, where set, is what a host has to say about a failure since then.
	Papers func(since time.Time) string
}

// VMM is one that scripts run on.
type VMM struct {
	Name string
	// Missing says why it can't be had here; its runs are skipped.
	Missing string
}

// programs is the directory of the programs under test.
func programs() (string, error) {
	if bin := os.Getenv("BANGER_TEST_BIN"); bin != "" {
		return bin, nil
	}
	return filepath.Abs("../../bin")
}

// Run runs all scripts of the current directory, several at once.
func Run(t *testing.T) { RunWith(t, Options{}) }

// RunWith runs the scripts of the current directory that o chooses.
func RunWith(t *testing.T, o Options) {
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"banger", "bangerd", "banger-agent"} {
		if _, err := os.Stat(filepath.Join(bin, p)); err != nil {
			t.Fatalf("the programs are not built, type make build: %v", err)
		}
	}
	if o.Guests == 0 {
		o.Guests = maxGuests
	}
	files, err := filepath.Glob("*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts here: %v", err)
	}
	tier := &tier{o, bin, semaphore.NewWeighted(o.Guests)}
	for _, file := range files {
		s, err := ReadScript(file)
		if err != nil {
			t.Fatal(err)
		}
		if s.User == o.User && s.Between == o.Between && s.Image == o.Image {
			t.Run(s.Name, func(t *testing.T) { tier.runAll(t, s) })
		}
	}
}

// RepeatVar names the variable of the environment that says how often scripts do again
// what is worth it; they have it as $REPEAT.
const RepeatVar = "BANGER_TEST_REPEAT"

// Repeat is that number, 1 if nobody says another.
func Repeat() string { return cmp.Or(os.Getenv(RepeatVar), "1") }

// tier is one call of RunWith.
type tier struct {
	Options
	bin    string
	guests *semaphore.Weighted
}

// runAll runs a script on all VMMs.
func (r *tier) runAll(t *testing.T, s *Script) {
	t.Parallel()
	if len(r.VMMs) == 0 || s.VMMNone {
		r.run(t, s, "")
		return
	}
	for _, v := range r.VMMs {
		name := v.Name
		if r.Phase != "" {
			name += "-" + r.Phase
		}
		t.Run(name, func(t *testing.T) {
			if v.Missing != "" {
				t.Skip(v.Missing)
			}
			t.Parallel()
			r.run(t, s, v.Name)
		})
	}
}

func (r *tier) run(t *testing.T, s *Script, vmm string) {
	if s.guests > r.Guests {
		t.Fatalf("the script wants %d guests, the most is %d", s.guests, r.Guests)
	}
	if s.guests > 0 {
		if err := r.guests.Acquire(t.Context(), s.guests); err != nil {
			t.Fatal(err)
		}
		defer r.guests.Release(s.guests)
	}
	repeat, err := strconv.Atoi(Repeat())
	if err != nil || repeat < 1 {
		t.Fatalf("$%s is %q: it is no number above 0", RepeatVar, Repeat())
	}
	limit := s.limit * time.Duration(repeat)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	p := testscript.Params{
		Files:               []string{s.file},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Deadline:            time.Now().Add(limit),
		Cmds:                commands,
		Condition:           condition,
		Setup: func(env *testscript.Env) error {
			st := &state{t: t, ctx: ctx, tier: r, vmm: vmm, begin: time.Now(), jobs: map[string]*job{}}
			env.Values[stateKey{}] = st
			return setup(env, st, s.shareCache)
		},
	}
	if r.Phase != "" {
		var err error
		if p.WorkdirRoot, err = halves(vmm); err != nil {
			t.Fatal(err)
		}
	}
	if r.Phase == "after" {
		p.Files = []string{s.secondHalf(t)}
	}
	testscript.RunT(flat{t}, p)
}

// condition knows [root], and [kvm]: the CPU has hardware virtualisation, and
// so a /dev/kvm that opens is a real one.
func condition(cond string) (bool, error) {
	switch cond {
	case "root":
		return os.Getuid() == 0, nil
	case "kvm":
		text, err := os.ReadFile("/proc/cpuinfo")
		return regexp.MustCompile(`(?m)^flags\s*:.* (vmx|svm)\b`).Match(text), err
	case "standin": // the programs under test have it only where a build tag says so
		bin, err := programs()
		if err != nil {
			return false, err
		}
		out, err := exec.Command(filepath.Join(bin, "bangerd"), "probe").Output()
		return bytes.Contains(out, []byte(`"driver":"standin"`)), err
	}
	return false, fmt.Errorf("no condition is called %q", cond)
}

// flat runs the one script of a testscript run in the test that is there.
type flat struct{ *testing.T }

func (f flat) Run(_ string, do func(testscript.T)) { do(f) }
func (f flat) Parallel()                           {}
func (f flat) Verbose() bool                       { return testing.Verbose() }

// stateKey finds a script's state among testscript's values.
type stateKey struct{}

// state is what commands of one script share.
type state struct {
	t     *testing.T
	ctx   context.Context // ends with the script's limit
	tier  *tier
	vmm   string // $VMM
	begin time.Time
	work  string          // the script's directory
	vars  []string        // the environment that the script began with
	jobs  map[string]*job // what start started and waitfor has not waited for
}

func stateOf(ts *testscript.TestScript) *state { return ts.Value(stateKey{}).(*state) }

// setup gives the script directories of its own, and with guests the user's
// cache, which holds image and kernel.
func setup(env *testscript.Env, s *state, shareCache bool) error {
	bin := s.tier.bin
	cache := filepath.Join(env.WorkDir, "cache")
	shared, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	if shareCache {
		cache = shared
	}
	for k, v := range map[string]string{
		"PATH":            bin + ":" + env.Getenv("PATH"),
		"BIN":             bin,
		"HOME":            filepath.Join(env.WorkDir, "home"),
		"XDG_STATE_HOME":  filepath.Join(env.WorkDir, "state"),
		"XDG_CONFIG_HOME": filepath.Join(env.WorkDir, "config"),
		"XDG_RUNTIME_DIR": filepath.Join(env.WorkDir, "run"),
		"VMM":             s.vmm,
		"REPEAT":          Repeat(),
		"XDG_CACHE_HOME":  cache,
		"SHARED_CACHE":    shared,
		"TERM":            "xterm",
		// Programs built with the race detector write what they find there.
		"GORACE": "log_path=" + filepath.Join(env.WorkDir, "race") + " atexit_sleep_ms=0",
	} {
		env.Setenv(k, v)
	}
	if v := os.Getenv("GOCOVERDIR"); v != "" {
		env.Setenv("GOCOVERDIR", v)
	}
	if s.tier.Host {
		env.Setenv("XDG_RUNTIME_DIR", os.Getenv("XDG_RUNTIME_DIR"))
	}
	for _, d := range []string{"home", "run"} {
		// The second of two halves finds them.
		if err := os.MkdirAll(filepath.Join(env.WorkDir, d), 0o700); err != nil {
			return err
		}
	}
	s.work, s.vars = env.WorkDir, env.Vars
	env.Defer(s.end)
	return nil
}

// end follows a script, whatever became of it.
func (s *state) end() {
	papers := ""
	if s.t.Failed() {
		papers = s.papers() // while its processes and records are there
	}
	s.endJobs()
	// What the first of two halves leaves running is for the second.
	if s.tier.Phase != "before" || s.t.Failed() {
		if err := s.leftovers(); err != nil {
			if !s.t.Failed() {
				papers = s.papers()
			}
			s.t.Error(err)
		}
	}
	if s.t.Failed() {
		s.t.Log(papers)
	}
}

// papers is what the programs wrote down, for whoever looks for a failure's
// cause.
func (s *state) papers() string {
	var out string
	for _, pattern := range []string{"state/banger/vms/*/*.json", "state/banger/bangerd.log", "state/banger/vms/*/supervisor.log", "state/banger/vms/*/console.log", "state/banger/trash/*/*.log", "race.*"} {
		files, _ := filepath.Glob(filepath.Join(s.work, pattern))
		for _, f := range files {
			text, _ := os.ReadFile(f)
			const most = 3 << 10
			if len(text) > most {
				text = text[len(text)-most:]
			}
			rel, _ := filepath.Rel(s.work, f)
			out += fmt.Sprintf("== %s\n%s\n", rel, text)
		}
	}
	for pid, args := range Processes(s.work) {
		out += fmt.Sprintf("== process %d: %s\n", pid, args)
	}
	if s.tier.Papers != nil {
		out += s.tier.Papers(s.begin)
	}
	return out
}
