//go:build standin

package life

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"

	"banger/internal/api"
)

var lasts = flag.Duration("lasts", 10*time.Second, "how long TestLeak creates and deletes")

// TestLeak creates, runs and deletes VMs over and over: a daemon that has done so
// for long holds no more memory, goroutines and descriptors than one that has for a
// while.
func TestLeak(t *testing.T) {
	w := newWorld(t)
	w.mustStart()
	begin := time.Now()
	made := w.churn(*lasts / 5)
	before := w.load()
	made += w.churn(*lasts - time.Since(begin))
	after := w.load()
	if after.Goroutines > before.Goroutines+2 || after.Descriptors > before.Descriptors+2 {
		t.Errorf("goroutines and descriptors: %d and %d after a while, %d and %d at the end",
			before.Goroutines, before.Descriptors, after.Goroutines, after.Descriptors)
	}
	// A heap is as large as its last collection found it.
	if after.RSSKiB > before.RSSKiB+before.RSSKiB/4+8<<10 {
		t.Errorf("resident memory: %d KiB after a while, %d KiB at the end", before.RSSKiB, after.RSSKiB)
	}
	w.check()
	t.Logf("figures: %d VMs in %v; resident %d KiB then %d KiB, goroutines %d then %d, descriptors %d then %d", made, lasts,
		before.RSSKiB, after.RSSKiB, before.Goroutines, after.Goroutines, before.Descriptors, after.Descriptors)
}

// churn creates, stops and deletes VMs for a while, and returns how many.
func (w *world) churn(lasts time.Duration) (made int) {
	deadline := time.Now().Add(lasts)
	var wg sync.WaitGroup
	counts := make([]int, 4)
	for n := range counts {
		wg.Go(func() {
			for ; time.Now().Before(deadline); counts[n]++ {
				name := fmt.Sprintf("w%d-%d", n, counts[n])
				ctx, cancel := context.WithTimeout(context.Background(), generous)
				_, err := w.client.CreateVM(ctx, api.Create{Name: name, Spec: small(), Start: true, Force: true}, nil)
				if err == nil && counts[n]%2 == 0 {
					_, err = w.client.StopVM(ctx, name, api.Stop{}, nil)
				}
				if err == nil {
					_, err = w.client.DeleteVM(ctx, name, api.Delete{Force: true, Discard: counts[n]%3 == 0}, nil)
				}
				cancel()
				if err != nil {
					w.t.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if _, err := w.client.EmptyTrash(w.ctx(), api.TrashEmpty{}); err != nil {
		w.t.Errorf("empty the trash: %v", err)
	}
	for _, n := range counts {
		made += n
	}
	return made
}

// load is what the daemon holds when it has nothing to do.
func (w *world) load() (d api.Daemon) {
	w.eventually(func() string {
		last := d.Goroutines
		var err error
		if d, err = w.client.ShowDaemon(w.ctx()); err != nil {
			return err.Error()
		}
		if d.Goroutines != last {
			time.Sleep(time.Second) // connections that wait for another request end
			return fmt.Sprintf("goroutines come and go: %d, then %d", last, d.Goroutines)
		}
		return ""
	})
	return d
}
