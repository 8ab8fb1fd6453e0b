package instance

import (
	"context"
	"errors"
	"os"
	"time"

	"banger/internal/process"
	"banger/internal/vm"
)

// Keep unties a VM from its session. It does not wait for a verb under way.
func (i *Instance) Keep() error {
	return i.move("", func(r *vm.Record) { r.Remove, r.Holder = false, nil })
}

// watchHolder deletes a --rm VM when the process that holds it is gone. A
// delete that was ended by another verb is tried again.
func (i *Instance) watchHolder() {
	if v := i.View(); !v.Record.Remove || v.Record.Holder == nil {
		return
	}
	i.set.work.Go(func() { // ends with the VM, its tie, or the Set
		if !i.waitHolder(*i.View().Record.Holder) {
			return
		}
		i.log.Info("the session that held it is gone")
		for i.held() {
			err := i.Delete(i.set.life, DeleteOptions{Force: true}, discard)
			if err != nil && i.set.life.Err() == nil {
				i.log.Error("delete after its session", "err", err)
				i.sleep(time.Second)
			}
		}
	})
}

// held reports whether the VM is there and tied to a session.
func (i *Instance) held() bool {
	v := i.View()
	return i.set.life.Err() == nil && !v.Removed && v.Record.Remove
}

func (i *Instance) sleep(d time.Duration) {
	ctx, cancel := context.WithTimeout(i.set.life, d)
	defer cancel()
	<-ctx.Done()
}

// waitHolder reports whether the holder ended while the VM was tied to it.
func (i *Instance) waitHolder(holder vm.Process) bool {
	ctx, cancel := context.WithCancel(i.set.life)
	defer cancel()
	i.set.work.Go(func() { // ends with ctx or the tie
		i.await(ctx, discard, "", func(v View) bool { return v.Removed || !v.Record.Remove })
		cancel()
	})
	for ctx.Err() == nil {
		h, err := process.Open(holder)
		if errors.Is(err, os.ErrProcessDone) {
			return true
		}
		if err == nil {
			err = h.Wait(ctx)
			h.Close()
			if err == nil {
				return true
			}
		}
		if ctx.Err() == nil { // it can't be told now: ask again
			i.log.Warn("watch the session's process", "err", err)
			i.sleep(time.Second)
		}
	}
	return false
}
