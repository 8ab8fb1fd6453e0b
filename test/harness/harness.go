// Package harness runs txtar scripts against the built programs: each with
// directories of its own, each with a limit, and each searched for leftovers
// when it ends: processes, sockets, files, VMs.
//
// A script is named by the promise that it proves. Lines of its comment say
// what it needs:
//
//	# guests 2    VMs that run at once; the tier never has more than two
//	# guests 0    none runs, but the user's image and kernel are needed
//	# limit 4m    how long it may take, without the wait for its guests
//
// Beside testscript's own commands there are those of the tables in this
// package. Programs that a script starts are told to keep everything below
// $WORK; images and kernels of a script with guests are the user's.
package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sync/semaphore"
)

const (
	// maxGuests is how many VMs run at once: an emulated one takes a core.
	maxGuests = 2
	// defaultLimit is what a script may take that says nothing else.
	defaultLimit = 2 * time.Minute
	// waitLimit bounds each wait of a script for something that must come.
	waitLimit = 90 * time.Second
	// cleanupLimit bounds what follows a script, whatever it left.
	cleanupLimit = 30 * time.Second
)

var guests = semaphore.NewWeighted(maxGuests)

// Run runs all scripts of the current directory, several at once.
func Run(t *testing.T) {
	bin := os.Getenv("BANGER_TEST_BIN")
	if bin == "" {
		var err error
		if bin, err = filepath.Abs("../../bin"); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"banger", "bangerd", "banger-agent"} {
		if _, err := os.Stat(filepath.Join(bin, p)); err != nil {
			t.Fatalf("the programs are not built, type make build: %v", err)
		}
	}
	files, err := filepath.Glob("*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts here: %v", err)
	}
	for _, file := range files {
		name := file[:len(file)-len(".txtar")]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runFile(t, bin, file)
		})
	}
}

func runFile(t *testing.T, bin, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n, shareCache, limit := needs(t, string(text))
	if n > 0 {
		if err := guests.Acquire(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		defer guests.Release(n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	testscript.RunT(flat{t}, testscript.Params{
		Files:               []string{file},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Deadline:            time.Now().Add(limit),
		Cmds:                commands,
		Condition:           condition,
		Setup: func(env *testscript.Env) error {
			env.Values[stateKey{}] = &state{t: t, ctx: ctx, bin: bin, jobs: map[string]*job{}}
			return setup(env, bin, shareCache)
		},
	})
}

var (
	needsGuests = regexp.MustCompile(`(?m)^# guests (\d+)$`)
	needsTime   = regexp.MustCompile(`(?m)^# limit (\S+)$`)
)

func needs(t *testing.T, text string) (n int64, shareCache bool, limit time.Duration) {
	limit = defaultLimit
	if m := needsGuests.FindStringSubmatch(text); m != nil {
		shareCache = true
		n, _ = strconv.ParseInt(m[1], 10, 64)
		if n > maxGuests {
			t.Fatalf("the script wants %d guests, the most is %d", n, maxGuests)
		}
	}
	if m := needsTime.FindStringSubmatch(text); m != nil {
		var err error
		if limit, err = time.ParseDuration(m[1]); err != nil {
			t.Fatal(err)
		}
	}
	return n, shareCache, limit
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
	t    *testing.T
	ctx  context.Context // ends with the script's limit
	bin  string          // where the programs are
	work string          // the script's directory
	vars []string        // the environment that the script began with
	jobs map[string]*job // what start started and waitfor has not waited for
}

func stateOf(ts *testscript.TestScript) *state { return ts.Value(stateKey{}).(*state) }

// setup gives the script directories of its own, and with guests the user's
// cache, which holds image and kernel.
func setup(env *testscript.Env, bin string, shareCache bool) error {
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
	for _, d := range []string{"home", "run"} {
		if err := os.Mkdir(filepath.Join(env.WorkDir, d), 0o700); err != nil {
			return err
		}
	}
	s := env.Values[stateKey{}].(*state)
	s.work, s.vars = env.WorkDir, env.Vars
	env.Defer(func() {
		s.endJobs()
		if err := s.leftovers(); err != nil {
			s.t.Error(err)
		}
		if s.t.Failed() {
			s.t.Log(s.papers())
		}
	})
	return nil
}

// papers is what the programs wrote down, for whoever looks for a failure's
// cause.
func (s *state) papers() string {
	var out string
	for _, pattern := range []string{"state/banger/bangerd.log", "state/banger/vms/*/supervisor.log", "state/banger/vms/*/console.log", "state/banger/trash/*/*.log", "race.*"} {
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
	return out
}
