package cli

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"banger/internal/channel/exec"
)

// commandFlags say how a command runs in a guest.
type commandFlags struct {
	tty     ttyFlags
	noStdin bool
	env     []string
	envFile []string
	dir     string
	user    string

	variables [][]byte // of env and envFile, from check on
}

func (f *commandFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	f.tty.add(cmd)
	fs.BoolVarP(&f.noStdin, "no-stdin", "n", false, "give it no input and read none, as in a loop that reads its own")
	fs.StringArrayVarP(&f.env, "env", "e", nil, "set a variable `KEY[=VALUE]`; without a value it has the host's, if it is set there")
	fs.StringArrayVar(&f.envFile, "env-file", nil, "set the variables of the lines in `FILE`, each as with -e; -e goes before it")
	fs.StringVarP(&f.dir, "workdir", "w", "", "run it in this directory `DIR` of the guest's")
	fs.StringVarP(&f.user, "user", "u", "", "run it as `USER[:GROUP]` of the guest's, by name or number (default: root)")
	for _, name := range []string{"env", "workdir", "user"} {
		cmd.RegisterFlagCompletionFunc(name, nothing)
	}
}

// check refuses what can't be meant, and reads the files.
func (f *commandFlags) check() error {
	if err := f.tty.check(); err != nil {
		return err
	}
	f.variables = nil
	for _, name := range f.envFile {
		if err := readVariables(name, &f.variables); err != nil {
			return err
		}
	}
	for _, kv := range f.env {
		if err := checkVariable(kv); err != nil {
			return fieldError("env", err)
		}
		addVariable(&f.variables, kv)
	}
	if strings.Contains(f.dir, "\x00") {
		return fieldError("workdir", fmt.Errorf("%q has a NUL", f.dir))
	}
	if user, group, ok := strings.Cut(f.user, ":"); (f.user != "" && user == "") || (ok && group == "") || strings.ContainsAny(f.user, "\x00\n") {
		return fieldError("user", fmt.Errorf("%q is not USER or USER:GROUP", f.user))
	}
	return nil
}

func checkVariable(kv string) error {
	key, _, _ := strings.Cut(kv, "=")
	if key == "" || strings.Contains(kv, "\x00") || strings.ContainsAny(key, " \t\n") {
		return fmt.Errorf("%q is not KEY or KEY=VALUE", kv)
	}
	return nil
}

// fill puts what f asks for into req, for a command that would run in dir.
func (f *commandFlags) fill(req *exec.Request, dir string) {
	req.Env = append(req.Env, f.variables...)
	// A user who can't enter root's workspace is at home.
	req.Dir, req.User, req.OrHome = []byte(dir), f.user, f.user != ""
	if f.dir != "" {
		req.Dir, req.OrHome = []byte(f.dir), false
	}
}

// addVariable adds KEY=VALUE, or KEY with the host's value.
func addVariable(env *[][]byte, kv string) {
	if !strings.Contains(kv, "=") {
		v, ok := os.LookupEnv(kv)
		if !ok {
			return
		}
		kv += "=" + v
	}
	*env = append(*env, []byte(kv))
}

// readVariables adds the variables of a file's lines. Empty lines, and those that
// begin with #, are none; a value is taken as it is, quotes too.
func readVariables(name string, env *[][]byte) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("--env-file: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, exec.MaxRequest)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimLeft(lines.Text(), " \t")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := checkVariable(line); err != nil {
			return fieldError("env-file", fmt.Errorf("%s:%d: %w", name, n, err))
		}
		addVariable(env, line)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("--env-file: read %s: %w", name, err)
	}
	return nil
}
