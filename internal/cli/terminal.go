package cli

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/term"

	"banger/internal/channel/exec"
)

// terminal is the user's terminal in raw mode.
type terminal struct {
	in, out *os.File
	state   *term.State
	changed chan os.Signal
	sizes   chan exec.Size
	done    chan struct{}
	watch   sync.WaitGroup
	once    sync.Once
}

// openTerminal puts in into raw mode if it is a terminal, and watches the
// size of out. Whoever opens it closes it, whatever happens in between.
func openTerminal(in, out *os.File) (*terminal, error) {
	t := &terminal{in: in, out: out, changed: make(chan os.Signal, 1), sizes: make(chan exec.Size, 1), done: make(chan struct{})}
	if term.IsTerminal(int(in.Fd())) {
		var err error
		if t.state, err = term.MakeRaw(int(in.Fd())); err != nil {
			return nil, err
		}
	}
	signal.Notify(t.changed, syscall.SIGWINCH)
	t.watch.Go(func() { // ends with close
		for {
			select {
			case <-t.changed:
				select {
				case t.sizes <- t.size():
				case <-t.done:
					return
				}
			case <-t.done:
				return
			}
		}
	})
	return t, nil
}

// size is the terminal's size now; zero if it has none.
func (t *terminal) size() exec.Size {
	for _, f := range []*os.File{t.out, t.in} {
		if cols, rows, err := term.GetSize(int(f.Fd())); err == nil {
			return exec.Size{Rows: uint16(rows), Cols: uint16(cols)}
		}
	}
	return exec.Size{}
}

// changes gives the size after each change.
func (t *terminal) changes() <-chan exec.Size { return t.sizes }

// close restores the terminal. It may be called at any time, twice.
func (t *terminal) close() error {
	var err error
	t.once.Do(func() {
		signal.Stop(t.changed)
		close(t.done)
		t.watch.Wait()
		if t.state != nil {
			err = term.Restore(int(t.in.Fd()), t.state)
		}
	})
	return err
}
