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

// clearLimit bounds the wait for the end of an agent's program that has said all. A guest that
// gets little of a processor takes seconds to clear away.
const clearLimit = 10 * time.Second

// Ask runs the agent's program in a guest and waits for its end: session.RunAgent on
// the guest's socket.
type Ask func(ctx context.Context, args []string, in io.Reader, out io.Writer) error

// Save asks a guest for its work and brings it into the store, as Import does, and then
// the contents of LFS files.
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
	var question bytes.Buffer
	if err := wire.WriteJSON(&question, q); err != nil {
		return w, err
	}
	err = ask.read(ctx, wire.Answer, &question, func(ctx context.Context, answer io.Reader) error {
		w, err = s.Import(ctx, answer, room)
		return err
	})
	if err != nil {
		return w, err
	}
	return s.saveObjects(ctx, ask, w, room)
}

// saveObjects asks a guest for the contents of LFS files that its work names, and
// brings them into the store.
func (s Store) saveObjects(ctx context.Context, ask Ask, w Work, room Room) (Work, error) {
	list, err := s.Wanted(ctx, w)
	if err != nil || len(list) == 0 {
		return w, err
	}
	question, err := s.AskObjects(list)
	if err != nil {
		return w, err
	}
	err = ask.read(ctx, wire.Objects, question, func(ctx context.Context, answer io.Reader) error {
		w, err = s.ImportObjects(ctx, answer, list, w, room)
		return err
	})
	return w, err
}

// read asks a question of the agent's program, and has do read the answer.
func (ask Ask) read(ctx context.Context, about string, question io.Reader, do func(context.Context, io.Reader) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answer, out := io.Pipe()
	ended := make(chan struct{})
	go func() { // ends with ctx, or the agent's program
		defer close(ended)
		out.CloseWithError(ask(ctx, []string{wire.Program, about}, question, out))
	}()
	err := do(ctx, answer)
	if err == nil {
		// It clears away what it made in the guest.
		select {
		case <-ended:
		case <-time.After(clearLimit):
		}
	}
	answer.CloseWithError(errors.New("nobody reads any more"))
	cancel() // an agent that goes on has nothing to say
	<-ended
	return err
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
	for _, name := range []string{storeFile, workFile, ownFile, "git/config", "git/HEAD", "git/shallow"} {
		if err := copyRegular(filepath.Join(b.Dir, name), filepath.Join(s.Dir, name)); err != nil {
			return b, err
		}
	}
	if err := os.Mkdir(filepath.Join(b.Dir, "lfs"), 0o700); err != nil {
		return b, err
	}
	if err := os.Symlink(filepath.Join(s.Dir, "lfs"), filepath.Join(b.Dir, otherObjects)); err != nil {
		return b, err
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
