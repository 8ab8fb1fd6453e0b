// Package harness runs txtar scripts against the built programs: each with
// directories of its own, and each searched for leftovers when it ends.
package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// waitLimit bounds every wait of a script for something that must come.
const waitLimit = 90 * time.Second

// Options say what a tier's scripts share.
type Options struct {
	// SharedCache lets scripts use the user's own images and kernels.
	SharedCache bool
}

// Run runs all of testdata.
func Run(t *testing.T, o Options) {
	bin := os.Getenv("BANGER_TEST_BIN")
	if bin == "" {
		var err error
		if bin, err = filepath.Abs("../../bin"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(bin, "banger")); err != nil {
		t.Fatalf("the programs are not built (make build): %v", err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               func(env *testscript.Env) error { return setup(env, bin, o) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":    status,
			"waitstate": waitState,
			"waitgone":  waitGone,
			"waitgrep":  waitGrep,
			"killof":    killOf,
			"nothing":   nothing,
		},
	})
}

func setup(env *testscript.Env, bin string, o Options) error {
	cache := filepath.Join(env.WorkDir, "cache")
	if o.SharedCache {
		var err error
		if cache, err = os.UserCacheDir(); err != nil {
			return err
		}
	}
	env.Setenv("PATH", bin+":"+env.Getenv("PATH"))
	env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
	env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
	env.Setenv("XDG_RUNTIME_DIR", filepath.Join(env.WorkDir, "run"))
	env.Setenv("XDG_CACHE_HOME", cache)
	env.Setenv("TERM", "xterm")
	if v := os.Getenv("GOCOVERDIR"); v != "" {
		env.Setenv("GOCOVERDIR", v)
	}
	for _, d := range []string{"home", "run"} {
		if err := os.Mkdir(filepath.Join(env.WorkDir, d), 0o700); err != nil {
			return err
		}
	}
	env.Defer(func() {
		if err := leftovers(env); err != nil {
			env.T().Fatal(err)
		}
	})
	return nil
}

// leftovers ends what the script's daemon still runs, and tells what should
// not have been there: VMs, processes, sockets, files.
func leftovers(env *testscript.Env) error {
	var errs []error
	out, err := command(env, "banger", "daemon", "stop")
	if err != nil {
		errs = append(errs, fmt.Errorf("stop the daemon: %v: %s", err, out))
	}
	limit := time.Now().Add(10 * time.Second)
	for left := processes(env.WorkDir); len(left) > 0; left = processes(env.WorkDir) {
		if time.Now().After(limit) {
			for pid, args := range left {
				errs = append(errs, fmt.Errorf("process %d is left: %s", pid, args))
				syscall.Kill(pid, syscall.SIGKILL)
			}
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	filepath.WalkDir(filepath.Join(env.WorkDir, "run"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type()&fs.ModeSocket != 0 {
			errs = append(errs, fmt.Errorf("socket %s is left", path))
		}
		return nil
	})
	state := filepath.Join(env.WorkDir, "state", "banger")
	filepath.WalkDir(state, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(state, path)
		if err != nil || d.IsDir() || strings.HasPrefix(rel, "trash/") || strings.HasPrefix(rel, "banger.db") || strings.HasPrefix(rel, "bangerd.l") {
			return nil
		}
		errs = append(errs, fmt.Errorf("file %s is left", rel))
		return nil
	})
	if err := errors.Join(errs...); err != nil {
		log, _ := os.ReadFile(filepath.Join(state, "bangerd.log"))
		return fmt.Errorf("%w\nbangerd.log:\n%s", err, log)
	}
	return nil
}

func command(env *testscript.Env, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(strings.Split(env.Getenv("PATH"), ":")[0], name), args...)
	cmd.Env = env.Vars
	return cmd.CombinedOutput()
}

// processes finds all whose arguments or environment name the script's
// directory. Zombies have neither.
func processes(dir string) map[int]string {
	out := map[int]string{}
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		pid, err := strconv.Atoi(filepath.Base(p))
		if err != nil || pid == os.Getpid() {
			continue
		}
		args, _ := os.ReadFile(p + "/cmdline")
		env, _ := os.ReadFile(p + "/environ")
		if strings.Contains(string(args), dir) || strings.Contains(string(env), dir) {
			out[pid] = strings.ReplaceAll(string(args), "\x00", " ")
		}
	}
	return out
}

// status N COMMAND…: run it and want exactly that exit status.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%v: exit status %d, want %d", args[1:], got, want)
	}
}

type shown struct {
	State      string
	Supervisor *struct{ PID int }
	VMM        *struct{ PID int }
}

// show asks the daemon about a VM; ok is false where there is none.
func show(ts *testscript.TestScript, name string) (v shown, ok bool) {
	cmd := exec.Command(filepath.Join(strings.Split(ts.Getenv("PATH"), ":")[0], "banger"), "vm", "show", "--json", name)
	for _, k := range []string{"PATH", "HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"} {
		cmd.Env = append(cmd.Env, k+"="+ts.Getenv(k))
	}
	out, err := cmd.Output()
	if err != nil {
		return v, false
	}
	ts.Check(json.Unmarshal(out, &v))
	return v, true
}

// until waits for what the programs tell nobody but those who ask.
func until(ts *testscript.TestScript, what string, done func() bool) {
	for limit := time.Now().Add(waitLimit); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(limit) {
			ts.Fatalf("%s did not come in %v", what, waitLimit)
		}
	}
}

// waitstate NAME STATE: wait until the VM has that state. "vmm" stands for a
// VM that is starting and has a VMM.
func waitState(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waitstate NAME STATE")
	}
	until(ts, strings.Join(args, " "), func() bool {
		v, ok := show(ts, args[0])
		return ok && (v.State == args[1] || (args[1] == "vmm" && v.State == "starting" && v.VMM != nil))
	})
}

// waitgone NAME: wait until there is no such VM.
func waitGone(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitgone NAME")
	}
	until(ts, "the end of "+args[0], func() bool { _, ok := show(ts, args[0]); return !ok })
}

// waitgrep TEXT FILE: wait until the file has the text.
func waitGrep(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waitgrep TEXT FILE")
	}
	until(ts, args[0]+" in "+args[1], func() bool {
		text, _ := os.ReadFile(ts.MkAbs(args[1]))
		return strings.Contains(string(text), args[0])
	})
}

// killof supervisor|vmm NAME, killof daemon: kill -9 that process.
func killOf(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: killof supervisor|vmm NAME, killof daemon")
	}
	if args[0] == "daemon" {
		for pid, line := range processes(ts.Getenv("WORK")) {
			if strings.Contains(line, "bangerd serve") {
				ts.Check(syscall.Kill(pid, syscall.SIGKILL))
				return
			}
		}
		ts.Fatalf("no bangerd runs")
	}
	v, ok := show(ts, args[1])
	p := v.Supervisor
	if args[0] == "vmm" {
		p = v.VMM
	}
	if !ok || p == nil {
		ts.Fatalf("%s has no %s", args[1], args[0])
	}
	ts.Check(syscall.Kill(p.PID, syscall.SIGKILL))
}

// nothing: no VM is recorded, and no directory of one is there.
func nothing(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: nothing")
	}
	ts.Check(ts.Exec("banger", "vm", "list", "-q"))
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("VMs are left: %s", out)
	}
	dirs, _ := filepath.Glob(filepath.Join(ts.Getenv("XDG_STATE_HOME"), "banger", "vms", "*"))
	if len(dirs) > 0 {
		ts.Fatalf("directories are left: %v", dirs)
	}
}
