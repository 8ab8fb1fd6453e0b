package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"banger/internal/api"
	"banger/internal/hint"
	"banger/internal/paths"
	"banger/internal/session"
	"banger/internal/workspace"
	"banger/internal/workspace/wire"
)

// readTries is how often a repository is read that changes meanwhile.
const readTries = 3

// copyIn is a repository on its way into a guest.
type copyIn struct {
	*workspaceFlags
	app     *app
	path    string
	force   bool
	known   []wire.Known // what is at the place, and may be replaced: the host has all of it
	show    display
	scratch string // a directory for scratch repositories
	plan    *workspace.Plan
	packed  chan struct{} // closed when a pack ahead has ended; nil if there is none
}

// openCopy reads the repository at path. It asks no daemon.
func (a *app) openCopy(ctx context.Context, f *workspaceFlags, path, scratch string, show display) (*copyIn, error) {
	c := &copyIn{workspaceFlags: f, app: a, path: path, show: show, scratch: scratch}
	return c, c.read(ctx)
}

// stagingDir is where stores are made before a VM has them.
func stagingDir() (string, error) {
	d, err := paths.Host()
	if err != nil {
		return "", err
	}
	return d.Work(), os.MkdirAll(d.Work(), 0o700)
}

// again reports whether an error says that a file changed while it was read, and that the
// repository is to be read once more.
func (c *copyIn) again(err error, try int) bool {
	var changed *workspace.ChangedError
	if !errors.As(err, &changed) || try >= readTries {
		return false
	}
	c.show.event("", api.Event{Notice: clean(fmt.Sprintf("%v: reading the repository again", changed))})
	return true
}

// read makes the plan anew.
func (c *copyIn) read(ctx context.Context) (err error) {
	for try := 1; ; try++ {
		if err = c.readOnce(ctx); !c.again(err, try) {
			return err
		}
	}
}

func (c *copyIn) readOnce(ctx context.Context) error {
	r, err := c.open(ctx, c.path)
	if err != nil {
		return err
	}
	if !r.IsPlain() {
		if _, err := c.app.takeUp(ctx, r, c.show); err != nil {
			return err
		}
	}
	o, err := c.options(c.scratch)
	if err != nil {
		return err
	}
	p, err := workspace.NewPlan(ctx, r, o)
	if err != nil {
		return err
	}
	c.close()
	c.plan = p
	return nil
}

func (c *copyIn) close() {
	if c.plan != nil {
		c.plan.Close()
	}
	c.plan = nil
}

// say tells what the base is, what stays behind, and what should perhaps not go in.
func (c *copyIn) say() {
	notice := func(format string, args ...any) {
		c.show.event("", api.Event{Notice: clean(fmt.Sprintf(format, args...))})
	}
	p := c.plan
	notice("%s", baseText(p))
	if p.UnderWay != "" {
		notice("a %s is under way: its files and the index go in, the %s itself stays here", p.UnderWay, p.UnderWay)
	}
	if n := p.Untracked; n > 0 && c.untracked { // all that such a plan leaves
		notice("%s left behind: --mode full takes the files in", count(n, "inner repo"))
	} else if n > 0 {
		notice("%s left behind: --include-untracked takes %s in", count(n, "untracked file"), them(n))
	}
	if n := len(p.Private); n > 0 && !c.full() {
		notice("%s in, as asked: %s", count(n, "ignored file"), some(p.Private))
	}
	var secrets [][]byte
	filters, pointers := map[string]int{}, 0
	for _, m := range p.All() {
		if m.At != "" {
			notice("submodule %s: %s", m.At, baseText(m))
		}
		for _, s := range m.Secrets {
			secrets = append(secrets, []byte(filepath.Join(m.At, string(s))))
		}
		for name, n := range m.Filters {
			filters[name] += n
		}
		pointers += m.Pointers
	}
	for _, name := range slices.Sorted(maps.Keys(filters)) {
		notice("%s in as in the work tree: filter=%s does not run", count(filters[name], "file"), name)
	}
	if pointers > 0 {
		notice("%s in as pointer, without content: git lfs pull gets that", count(pointers, "LFS file"))
	}
	if len(secrets) > 0 {
		notice("warning: files whose names look like secrets go in: %s", some(secrets))
	}
}

// size is how much goes in.
func (c *copyIn) size() (files int, bytes int64) {
	for _, p := range c.plan.All() {
		files, bytes = files+len(p.Files), bytes+p.Bytes
	}
	return files, bytes
}

// some are the first of a list of names, in words.
func some[T string | []byte](list []T) string {
	const shown = 5
	var names []string
	for _, s := range list[:min(len(list), shown)] {
		names = append(names, string(s))
	}
	if n := len(list) - shown; n > 0 {
		names = append(names, fmt.Sprintf("%d more", n))
	}
	return strings.Join(names, ", ")
}

// errNotCopied says that nobody agreed to a copy.
var errNotCopied = errors.New("nothing was copied")

// ask has the user agree to a copy of every file.
func (c *copyIn) ask(ctx context.Context) error {
	if !c.full() || c.yes {
		return nil
	}
	a, p := c.app, c.plan
	c.show.close()
	files, bytes := c.size()
	a.note("every file in %s goes in, ignored ones too: %s, %s", clean(p.Repo.Root), count(files, "file"), bytesText(bytes))
	if !term.IsTerminal(int(a.stdin.Fd())) || !term.IsTerminal(int(a.stderr.Fd())) {
		return hint.Add(usagef("%w: there is no terminal to ask on", errNotCopied), "--dry-run lists them; --yes copies without asking")
	}
	fmt.Fprint(a.stderr, "Copy? [y/N] ")
	yes, err := a.readYes(ctx)
	if err == nil && !yes {
		err = errNotCopied
	}
	return err
}

// baseText is what a plan's base is, in words.
func baseText(p *workspace.Plan) string {
	if p.Repo.IsPlain() {
		return fmt.Sprintf("base: the %s in %s", count(len(p.Files), "file"), p.Repo.Root)
	}
	text := "base: no commit yet"
	if p.From != "" {
		return fmt.Sprintf("base: %s %.7s %q, without your edits", p.From, p.Head, p.Subject)
	}
	if p.Head != "" {
		text = fmt.Sprintf("base: HEAD %.7s %q", p.Head, p.Subject)
	}
	if p.Changed > 0 {
		text += " + " + count(p.Changed, "changed file")
	}
	return text
}

func them(n int) string {
	if n == 1 {
		return "it"
	}
	return "them"
}

// into copies the repository, and its submodules after it, into a running VM, and gives
// the VM what banger keeps of them.
func (c *copyIn) into(ctx context.Context, client *api.Client, where api.Session) (v api.VM, err error) {
	guestPath := c.guestPath
	if guestPath == "" {
		guestPath = defaultGuestPath
	}
	var all []arrived
	for try := 1; ; try++ {
		all, err = c.sendAll(ctx, where.Socket, guestPath)
		if !c.again(err, try) {
			break
		}
		if err := c.read(ctx); err != nil {
			return v, err
		}
	}
	if changed := (*workspace.ChangedError)(nil); errors.As(err, &changed) {
		err = fmt.Errorf("%w, %d times", err, readTries)
	}
	if err != nil {
		return v, fmt.Errorf("copy %q into VM %s: %w", c.plan.Repo.Root, where.Name, err)
	}
	for n, p := range c.plan.All() {
		if v, err = c.keep(ctx, client, where, p, all[n]); err != nil {
			return v, err
		}
	}
	return v, nil
}

// arrived is a repository in the guest.
type arrived struct {
	path   string       // there
	onDisk func() error // returns when it is on the guest's disk; called once
}

// sendAll sends all repositories, and returns those that arrived.
func (c *copyIn) sendAll(ctx context.Context, socket, guestPath string) (all []arrived, err error) {
	for n, p := range c.plan.All() {
		known := c.known
		if n > 0 { // its place is in the copy that arrived
			known = nil
		}
		got, err := c.send(ctx, p, socket, workspace.SendOptions{Path: []byte(filepath.Join(guestPath, p.At)), Force: c.force, Known: known})
		if err != nil {
			return all, err
		}
		all = append(all, got)
		if n == 0 {
			c.known = nil
		}
		c.known = append(c.known, p.Known([]byte(got.path))) // what is there if all is sent again
	}
	return all, nil
}

// keep gives the VM what banger keeps of a repository that is in the guest.
func (c *copyIn) keep(ctx context.Context, client *api.Client, where api.Session, p *workspace.Plan, there arrived) (api.VM, error) {
	staged, err := workspace.NewLease(c.scratch)
	if err != nil {
		return api.VM{}, err
	}
	defer staged.Close() // the VM has it by then, under another name
	if _, err := workspace.NewStore(ctx, staged.Dir, p, workspace.Owner{ID: string(where.ID), Name: where.Name, GuestPath: there.path}); err != nil {
		return api.VM{}, fmt.Errorf("keep the base of %q: %w", p.Repo.Root, err)
	}
	if err := there.onDisk(); err != nil {
		return api.VM{}, fmt.Errorf("copy %q into VM %s: %w", p.Repo.Root, where.Name, err)
	}
	return client.AddWorkspace(ctx, string(where.ID), api.WorkspaceAdd{
		GuestPath: there.path, Repository: p.Repo.Root, Staged: filepath.Base(staged.Dir),
	})
}

// send sends the stream and hears the guest's answer.
func (c *copyIn) send(ctx context.Context, p *workspace.Plan, socket string, o workspace.SendOptions) (there arrived, err error) {
	total := count(len(p.Files), "file")
	c.show.event("", api.Event{Stage: api.StageCopy, Text: "packing the history of " + total, Unit: "bytes"})
	if c.packed != nil {
		<-c.packed
	}
	if _, err := p.Pack(ctx); err != nil {
		return there, err
	}
	stream, cancel := context.WithCancel(ctx)
	defer cancel()
	in, out := io.Pipe()
	sent := make(chan error, 1)
	go func() { // ends with the stream's reader
		begin := time.Now()
		last := begin
		o.Progress = func(files int, bytes int64) {
			if now := time.Now(); now.Sub(last) > 100*time.Millisecond {
				last = now
				c.show.event("", api.Event{Stage: api.StageCopy, Text: fmt.Sprintf("copying %d of %s, %s/s", files, total, bytesText(int64(float64(bytes)/now.Sub(begin).Seconds()))), Done: bytes, Total: p.Bytes, Unit: "bytes"})
			}
		}
		err := p.Send(stream, out, o)
		out.CloseWithError(err)
		sent <- err
	}()
	answer, says := io.Pipe()
	ended := make(chan error, 1)
	go func() { // ends with the agent's program, or ctx
		err := session.RunAgent(ctx, socket, []string{wire.Program, wire.Receive}, in, says)
		says.CloseWithError(err)
		ended <- err
	}()
	var got wire.Received
	if err = wire.ReadJSON(bufio.NewReader(answer), &got); err == nil {
		go io.Copy(io.Discard, answer) // nothing is to come; it ends with the program
	} else {
		answer.CloseWithError(errTaken)
		if ran := <-ended; ran != nil && !errors.Is(ran, errTaken) {
			err = ran
		} else {
			err = fmt.Errorf("read the guest's answer: %w", err)
		}
	}
	in.CloseWithError(errTaken)
	cancel()
	if err := notSent(<-sent, err, got.Error); err != nil {
		return there, err
	}
	if !filepath.IsAbs(string(got.Path)) {
		return there, fmt.Errorf("the guest names the place %q", got.Path)
	}
	c.show.event("", api.Event{Stage: api.StageCopy, Text: fmt.Sprintf("%s, %s, in %s", total, bytesText(p.Bytes), got.Path), Finished: true})
	return arrived{string(got.Path), func() error { return <-ended }}, nil
}

// packAhead packs the history without anybody waiting for it. What it returns ends that,
// and must be called before close.
func (c *copyIn) packAhead(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	c.packed = make(chan struct{})
	all := c.plan.All()
	go func() { // ends with the packs, or ctx
		defer close(c.packed)
		for _, p := range all {
			p.Pack(ctx) // an error comes again in send
		}
	}()
	return func() {
		cancel()
		<-c.packed
	}
}

// makeRoom sees to it that nothing that was edited is replaced unless that was asked
// for: what is in the guest at the place of the copy is saved first, and if it is as it
// went in, it may be replaced. The guest looks again when the copy is there.
func (c *copyIn) makeRoom(ctx context.Context, client *api.Client, where api.Session) error {
	v, err := client.ShowVM(ctx, string(where.ID))
	if err != nil || len(v.Workspaces) == 0 {
		return err
	}
	at := c.guestPath
	if at == "" {
		at = defaultGuestPath
	}
	if at = filepath.Clean(at); !filepath.IsAbs(at) {
		at = filepath.Join(guestHome, at)
	}
	there := func(v api.VM) []api.Workspace {
		return slices.DeleteFunc(v.Workspaces, func(w api.Workspace) bool { return w.GuestPath != at && within(at, w.GuestPath) == "" })
	}
	before := there(v)
	if len(before) == 0 {
		return nil
	}
	if v, err = client.SaveWork(ctx, string(where.ID), api.WorkspaceSave{GuestPaths: guestPaths(before)}, each(c.show)); err != nil {
		if v, err = c.goOnUnsaved(ctx, client, where, before, err); err != nil {
			return err
		}
	}
	var names bytes.Buffer
	for _, w := range there(v) {
		store := workspace.Store{Dir: w.Dir}
		work, err := store.Work()
		if errors.Is(err, workspace.ErrNoWork) {
			continue // it was gone before the first save
		} else if err != nil {
			return err
		}
		k, err := store.Known(ctx, work)
		if err != nil {
			return err
		}
		c.known = append(c.known, k)
		if c.force {
			continue
		}
		if work.Anew {
			return hint.Add(fmt.Errorf("the repository in %s of VM %s is another one than the one that went in, or gone: its files are saved, its commits can't be", w.GuestPath, where.Name),
				"--force replaces it")
		}
		if !work.Changed() {
			continue
		}
		if err := store.Patch(ctx, &names, work, workspace.PatchOptions{Form: workspace.FormNames, Prefix: within(at, w.GuestPath)}); err != nil {
			return err
		}
		if work.Files == 0 {
			fmt.Fprintf(&names, "%s\n", changesText(work))
		}
	}
	if names.Len() > 0 {
		return hint.Add(fmt.Errorf("%s of VM %s was edited: %s", at, where.Name, some(bytes.Split(bytes.TrimSpace(names.Bytes()), []byte("\n")))),
			"banger apply "+where.Name+" takes the edits; --force replaces them, and keeps them as saved work")
	}
	return nil
}

// goOnUnsaved decides about a save that failed with why: the copy may go on if all that
// lay at its place before was saved or, with --force, is gone in the guest. It returns
// the VM as it is now.
func (c *copyIn) goOnUnsaved(ctx context.Context, client *api.Client, where api.Session, before []api.Workspace, why error) (v api.VM, err error) {
	nothing := fmt.Errorf("nothing was replaced: %w", why)
	if v, err = client.ShowVM(ctx, string(where.ID)); err != nil {
		return v, nothing
	}
	ask := func(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
		return session.RunAgent(ctx, where.Socket, args, in, out)
	}
	for _, w := range before {
		now := slices.IndexFunc(v.Workspaces, func(o api.Workspace) bool { return o.Dir == w.Dir })
		if now >= 0 && v.Workspaces[now].SavedAt.After(w.SavedAt) {
			continue
		}
		gone, err := workspace.Store{Dir: w.Dir}.IsGone(ctx, ask)
		switch {
		case err != nil || !gone:
			return v, nothing
		case !c.force:
			return v, hint.Add(fmt.Errorf("nothing was replaced: the directory %s is gone in VM %s", clean(w.GuestPath), where.Name),
				"--force copies anew; what was saved before stays saved work: banger saved list")
		}
	}
	c.show.event("", api.Event{Notice: clean(fmt.Sprintf("not saved: %v", why))})
	return v, nil
}

// guestHome is root's home in a guest.
const guestHome = "/root"
