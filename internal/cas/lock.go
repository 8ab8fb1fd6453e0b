package cas

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

func (s *Store) openLock() (*os.File, error) {
	return os.OpenFile(filepath.Join(s.dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
}

// lock takes the turn of making: first among this process's makers, then among
// processes.
func (s *Store) lock(ctx context.Context, waiting func()) (unlock func(), err error) {
	told := waiting == nil
	tell := func() {
		if !told {
			told = true
			waiting()
		}
	}
	select {
	case s.making <- struct{}{}:
	default:
		tell()
		select {
		case s.making <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	f, err := s.openLock()
	if err != nil {
		<-s.making
		return nil, err
	}
	unlock = func() {
		f.Close() // gives the lock up
		<-s.making
	}
	// flock has no wait that a context could end, so another process's turn is
	// asked about again and again.
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return unlock, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			unlock()
			return nil, fmt.Errorf("lock %q: %w", f.Name(), err)
		}
		tell()
		select {
		case <-tick.C:
		case <-ctx.Done():
			unlock()
			return nil, ctx.Err()
		}
	}
}

// refStamp changes whenever somebody sets the ref, to the same digest too.
func (s *Store) refStamp(ref string) stamp {
	st, err := stampOf(filepath.Join(s.dir, refsDir, ref))
	if err != nil {
		return stamp{}
	}
	return st
}

// sweepAll removes what killed makers left; the lock is held.
func (s *Store) sweepAll() error {
	left, err := filepath.Glob(filepath.Join(s.dir, tmpPrefix+"*"))
	if err != nil {
		return err
	}
	for _, d := range left {
		if s.sweep != nil {
			if err := s.sweep(d); err != nil {
				return fmt.Errorf("clean up after a cut %q: %w", d, err)
			}
		}
		if err := os.RemoveAll(d); err != nil {
			return err
		}
	}
	return nil
}
