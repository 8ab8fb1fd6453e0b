package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

// completeLimit bounds what a press of the tab key waits for.
const completeLimit = 2 * time.Second

// addCompletion adds cobra's completion command, with examples.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() != "completion" {
			continue
		}
		c.Short = "Print a shell's completion script"
		c.Example = "  source <(banger completion bash)"
		c.Args, c.RunE = cobra.ArbitraryArgs, group("", "", "", "").RunE
		for _, shell := range c.Commands() {
			shell.Example = map[string]string{
				"bash":       "  source <(banger completion bash)",
				"zsh":        "  source <(banger completion zsh)",
				"fish":       "  banger completion fish | source",
				"powershell": "  banger completion powershell | Out-String | Invoke-Expression",
			}[shell.Name()]
			shell.Args = args(0, 0, "nothing")
		}
	}
}

type completer = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// names completes references to VMs in one of the states given, or in any, by
// asking the daemon that runs; most is how many arguments are VMs, 0 any number.
func (a *app) names(most int, states ...vm.State) completer {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveDefault
		}
		var out []string
		for _, v := range ask(a, cmd, (*api.Client).ListVMs) {
			if !slices.Contains(args, v.Name) && (len(states) == 0 || slices.Contains(states, v.State)) {
				out = append(out, fmt.Sprintf("%s\t%s, %s", clean(v.Name), v.State, clean(v.Spec.Image)))
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// imageRefs completes images.
func (a *app) imageRefs(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	out := []string{vm.DefImage}
	for _, i := range ask(a, cmd, (*api.Client).ListImages) {
		if i.Ref != vm.DefImage && !strings.ContainsAny(i.Ref, "\t\n") {
			out = append(out, clean(i.Ref))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// nothing completes nothing, file names least of all.
func nothing(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// ask gets a list from the daemon, or nothing if none runs.
func ask[T any](a *app, cmd *cobra.Command, call func(*api.Client, context.Context) ([]T, error)) []T {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeLimit)
	defer cancel()
	c, err := a.running()
	if err != nil {
		return nil
	}
	list, _ := call(c, ctx) // a completion has no place for an error
	return list
}
