package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// every calls do with all commands that a user sees.
func every(cmd *cobra.Command, do func(*cobra.Command)) {
	do(cmd)
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			every(c, do)
		}
	}
}

// The help of every command is a file: a change of what users read is seen.
// go test ./internal/cli -update writes them.
func TestHelp(t *testing.T) {
	a, _ := newApp(t)
	want := map[string]bool{}
	every(a.root(), func(cmd *cobra.Command) {
		words := strings.Fields(cmd.CommandPath())
		if isCobras(cmd) {
			return
		}
		file := filepath.Join("testdata", "help", strings.Join(words, "-")+".txt")
		want[filepath.Base(file)] = true
		a, o := newApp(t)
		if status := a.runLine(t, append(words[1:], "--help")...); status != 0 {
			t.Errorf("%s --help: exit status %d\n%s", cmd.CommandPath(), status, o.stderr())
		}
		got := o.stdout()
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatalf("%v: write it with -update", err)
		}
		if diff := cmp.Diff(string(text), got); diff != "" {
			t.Errorf("%s --help differs from %s (-want +got):\n%s", cmd.CommandPath(), file, diff)
		}
	})
	files, err := os.ReadDir(filepath.Join("testdata", "help"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !want[f.Name()] {
			t.Errorf("%s is the help of no command", f.Name())
		}
	}
}

// Every command says what it does, with an example that works as it is written.
func TestExamples(t *testing.T) {
	a, _ := newApp(t)
	root := a.root()
	every(root, func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s: Short is %q, Example %q: both are wanted", cmd.CommandPath(), cmd.Short, cmd.Example)
		}
		if cmd == root {
			return
		}
		if !strings.Contains(cmd.Example, cmd.CommandPath()) {
			t.Errorf("the examples of %s don't have it:\n%s", cmd.CommandPath(), cmd.Example)
		}
	})
}
