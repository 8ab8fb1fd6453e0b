package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/git"
	"banger/internal/workspace/wire"
)

// Ask runs the agent's program in a guest and waits for its end: session.RunAgent on
// the guest's socket.
type Ask func(ctx context.Context, args []string, in io.Reader, out io.Writer) error

// Save asks a guest for its work and brings it into the store, as Import does.
func (s Store) Save(ctx context.Context, ask Ask, room Room) (w Work, err error) {
	lock, err := s.lock(ctx)
	if err != nil {
		return w, err
	}
	defer lock.Close()
	q, err := s.Question(ctx)
	if err != nil {
		return w, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var question bytes.Buffer
	if err := wire.WriteJSON(&question, q); err != nil {
		return w, err
	}
	answers, out := io.Pipe()
	ended := make(chan struct{})
	go func() { // ends with ctx, or the agent's program
		defer close(ended)
		out.CloseWithError(ask(ctx, []string{wire.Program, wire.Answer}, &question, out))
	}()
	w, err = s.Import(ctx, answers, room)
	answers.CloseWithError(errors.New("nobody reads any more"))
	cancel() // an agent that goes on has nothing to say
	<-ended
	return w, err
}

// errBusy says that another process saves into the store, or drops what is in it.
var errBusy = errors.New("it is being saved, or dropped")

// lock holds the store against another Save or Drop, and waits for it until ctx ends.
// It writes nothing. The caller closes it.
func (s Store) lock(ctx context.Context) (*os.File, error) {
	f, err := os.Open(filepath.Join(s.Dir, storeFile))
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock the store %q: %w", s.Dir, err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			f.Close()
			return nil, errors.Join(errBusy, context.Cause(ctx))
		}
	}
}

// Beside makes a store below dir that has what s has, and takes what Save brings, which
// s then does not see. Its objects are s's as alternates: only what is new takes room.
func (s Store) Beside(ctx context.Context, dir string) (Store, error) {
	b := Store{filepath.Join(dir, filepath.Base(s.Dir))}
	if err := b.makeRepo(); err != nil {
		return b, err
	}
	for _, name := range []string{storeFile, workFile, "git/config", "git/HEAD", "git/shallow"} {
		if err := copyRegular(filepath.Join(b.Dir, name), filepath.Join(s.Dir, name)); err != nil {
			return b, err
		}
	}
	alternate := git.Quote(filepath.Join(s.repo(), "objects")) + "\n"
	if err := os.WriteFile(filepath.Join(b.repo(), "objects", "info", "alternates"), []byte(alternate), 0o600); err != nil {
		return b, err
	}
	refs, err := listRefs(ctx, s.git(), "refs/")
	if err != nil {
		return b, err
	}
	var tx strings.Builder
	for _, r := range refs {
		fmt.Fprintf(&tx, "create %s\x00%s\x00", r.name, r.id)
	}
	_, err = b.git().Run(ctx, strings.NewReader(tx.String()), "update-ref", "-z", "--stdin")
	return b, err
}
