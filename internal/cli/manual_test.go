package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// The manual is every command's help, so that it says what the program says.
// go test ./internal/cli -update writes it.
func TestManual(t *testing.T) {
	file := filepath.Join("..", "..", "docs", "manual.md")
	got := manual(t)
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
		t.Errorf("%s is stale: write it with -update (-want +got):\n%s", file, diff)
	}
}

// manual is the text of docs/manual.md.
func manual(t *testing.T) string {
	a, _ := newApp(t)
	var list, text strings.Builder
	every(a.root(), func(cmd *cobra.Command) {
		if isCobras(cmd) {
			return
		}
		path := cmd.CommandPath()
		depth := strings.Count(path, " ")
		fmt.Fprintf(&list, "%s- [%s](#%s): %s\n", strings.Repeat("  ", depth), path, strings.ReplaceAll(path, " ", "-"), cmd.Short)
		a, o := newApp(t)
		if status := a.runLine(t, append(strings.Fields(path)[1:], "--help")...); status != 0 {
			t.Errorf("%s --help: exit status %d", path, status)
		}
		fmt.Fprintf(&text, "\n## %s\n\n```text\n%s```\n", path, o.stdout())
	})
	return `# Manual

The help of every command, written by ` + "`go test ./internal/cli -update`" + `; don't edit it. The
defaults shown are those of a host with 16 CPUs and 32 GiB of memory.

` + "`VM`" + ` is a VM's name, its id, or the beginning of its id. Results go to stdout;
progress, notices and errors go to stderr.

| exit status | meaning |
|---|---|
| 0 | it is done |
| 1 | ` + "`vm health`" + `: the VM is not healthy |
| 2 | the command line can't be meant |
| 125 | banger could not do it |
| 130 | interrupted |
| 141 | nobody reads the output |
| another | the guest command's own, for ` + "`run`, `vm run`, `vm exec` and `vm ssh`" + `; 137 with a message if the guest ran out of memory |

` + list.String() + text.String()
}

// isCobras says that a command's help is not ours to fix.
func isCobras(cmd *cobra.Command) bool {
	return cmd.Name() == "help" || strings.Contains(cmd.CommandPath(), "completion ")
}
