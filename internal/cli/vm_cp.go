package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/filecopy"
	"banger/internal/hint"
	"banger/internal/session"
	"banger/internal/vm"
	"banger/internal/workspace"
)

func (a *app) vmCp() *cobra.Command {
	var withGit, quiet bool
	var most text
	cmd := &cobra.Command{
		Use:     "cp [flags] PATH… VM:PATH | VM:PATH… PATH",
		Aliases: []string{"copy"},
		Short:   "Copy files into a VM, or out of one",
		Long: `Copy files and directories into a running VM or out of it, with modes, links and
times. A path in a VM is relative to root's home. What is copied goes into the last
path if that is a directory that is there; else that is its new name. Files that are
there are replaced, each as a whole; directories of the same name become one.

Out of a VM, whatever is called .git is left out unless --with-git is given: its
configuration and hooks would run at your next git command. What a guest sends ends
before this host's file system is full: a twentieth of it, at most 1 GiB, stays free.
--max-size says how much may come.`,
		Example: `  banger vm cp notes.txt dev:
  banger vm cp src dev:/srv
  banger vm cp dev:/var/log/syslog .
  banger vm cp dev:build out`,
		Args: args(2, -1, "what to copy, and where"),
		RunE: func(cmd *cobra.Command, paths []string) error {
			ref, from, to, into, err := splitCopy(paths)
			if err != nil {
				return err
			}
			var maxMiB int64
			if cmd.Flags().Changed("max-size") {
				if maxMiB, err = vm.ParseMiB(string(most)); err == nil && (into || maxMiB < 1) {
					err = errors.New("it is a size of at least 1M, of what comes out of a VM")
				}
				if err != nil {
					return fieldError("max-size", err)
				}
			}
			ctx := cmd.Context()
			c, err := a.connect(ctx)
			if err != nil {
				return err
			}
			where, err := c.VMSession(ctx, ref)
			if err != nil {
				return err
			}
			show := a.display(quiet, false)
			defer show.close()
			cp := &fileCopy{app: a, socket: where.Socket, show: show, withGit: withGit, max: maxMiB << 20}
			if into {
				err = cp.into(ctx, from, to)
			} else {
				err = cp.out(ctx, from, to)
			}
			if err != nil {
				return fmt.Errorf("copy: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&withGit, "with-git", false, "out of a VM: take what is called .git along")
	cmd.Flags().Var(&most, "max-size", "out of a VM: copy nothing if it is more than `SIZE`, as 500M")
	cmd.RegisterFlagCompletionFunc("max-size", nothing)
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "no progress")
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		names, _ := a.names(1, vm.Running)(cmd, nil, typed)
		for i := range names {
			names[i] += ":"
		}
		return names, cobra.ShellCompDirectiveNoSpace
	}
	return cmd
}

// splitCopy finds out which of the paths are a VM's: all of the sources, or the
// destination. A path with a slash before its first colon is the host's.
func splitCopy(paths []string) (ref string, from []string, to string, into bool, err error) {
	split := func(p string) (name, path string, inVM bool) {
		name, path, inVM = strings.Cut(p, ":")
		if !inVM || name == "" || strings.Contains(name, "/") {
			return "", p, false
		}
		return name, path, true
	}
	last := paths[len(paths)-1]
	ref, to, into = split(last)
	for _, p := range paths[:len(paths)-1] {
		name, path, inVM := split(p)
		switch {
		case inVM && into:
			return "", nil, "", false, usagef("%q and %q are both a VM's: one side is this host's", p, last)
		case !inVM && !into:
			return "", nil, "", false, usagef("neither %q nor %q is a VM's: write VM:PATH", p, last)
		case inVM && ref != "" && name != ref:
			return "", nil, "", false, usagef("%q and %q are different VMs", ref, name)
		case inVM:
			ref = name
			if path == "" {
				return "", nil, "", false, usagef("%q names no path: write %s:PATH", p, name)
			}
		}
		from = append(from, path)
	}
	if into && to == "" {
		to = "./"
	}
	return ref, from, to, into, nil
}

type fileCopy struct {
	app     *app
	socket  string
	show    display
	withGit bool
	max     int64 // bytes that come out; 0 is no bound
	last    time.Time
}

// say shows how far it is, now and then.
func (c *fileCopy) say(done, total int64) {
	if now := time.Now(); now.Sub(c.last) > 100*time.Millisecond {
		c.last = now
		c.show.event("", api.Event{Stage: api.StageCopy, Text: "copying", Done: done, Total: total, Unit: "bytes"})
	}
}

func (c *fileCopy) done(r filecopy.Result) {
	c.show.event("", api.Event{Stage: api.StageCopy, Text: fmt.Sprintf("%s, %s", count(r.Files, "file"), bytesText(r.Bytes)), Finished: true})
}

// into copies paths of the host's into the guest.
func (c *fileCopy) into(ctx context.Context, from []string, to string) error {
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.show.event("", api.Event{Stage: api.StageCopy, Text: "copying", Unit: "bytes"})
	in, out := io.Pipe()
	sent := make(chan error, 1)
	go func() { // ends with the stream's reader, or ctx
		err := filecopy.Send(ctx, out, here, from, filecopy.Header{Dest: []byte(to)}, func(n int64) { c.say(n, 0) })
		out.CloseWithError(err)
		sent <- err
	}()
	var answer bytes.Buffer
	err = session.RunAgent(ctx, c.socket, []string{filecopy.Program, filecopy.In}, in, &answer)
	in.CloseWithError(errTaken)
	cancel()
	serr := <-sent
	var got filecopy.Result
	if err == nil {
		err = json.Unmarshal(answer.Bytes(), &got)
	}
	if err := notSent(serr, err, got.Error); err != nil {
		return err
	}
	c.done(got)
	return nil
}

// errTaken ends a stream whose reader in the guest has ended.
var errTaken = errors.New("the guest takes no more")

// notSent is why a stream did not arrive: by what sent it here, else by what the guest
// says, else by what ran there. A sender that was only stopped tells nothing.
func notSent(sent, ran error, says string) error {
	switch {
	case sent != nil && !errors.Is(sent, errTaken) && !errors.Is(sent, context.Canceled):
		return sent
	case says != "":
		return fmt.Errorf("the guest says: %q", says)
	}
	return ran
}

// out copies paths of the guest's to the host.
func (c *fileCopy) out(ctx context.Context, from []string, to string) error {
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	var q filecopy.Request
	var names []string
	for _, p := range from {
		q.Paths = append(q.Paths, []byte(p))
		names = append(names, filecopy.Name(guestHome, p))
	}
	text, err := json.Marshal(q)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.show.event("", api.Event{Stage: api.StageCopy, Text: "copying", Unit: "bytes"})
	in, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { // ends with the agent's program, or ctx
		err := session.RunAgent(ctx, c.socket, []string{filecopy.Program, filecopy.Out}, bytes.NewReader(text), out)
		out.CloseWithError(err)
		ended <- err
	}()
	o := filecopy.Options{Dest: to, Dir: here, Names: names, MaxBytes: c.max, KeepFree: true, Progress: c.say}
	left := 0
	if !c.withGit {
		o.Skip = func(name string) bool {
			is := workspace.IsDotGit(name)
			if is {
				left++
			}
			return is
		}
	}
	got, err := filecopy.Receive(ctx, in, o)
	in.CloseWithError(errors.New("nobody reads any more"))
	cancel()
	<-ended
	if errors.Is(err, filecopy.ErrTooMuch) {
		return hint.Add(errors.New(clean(err.Error())), "make room, or copy less of it; --max-size SIZE says how much may come")
	}
	if err != nil {
		return errors.New(clean(err.Error()))
	}
	c.done(got)
	if left > 0 {
		c.show.event("", api.Event{Notice: "what is called .git was left out: --with-git takes it along"})
	}
	return nil
}
