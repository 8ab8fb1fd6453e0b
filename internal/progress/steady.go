package progress

import (
	"sync"
	"time"
)

// steadyEvery is how often a step is said again.
const steadyEvery = time.Second

// Steady passes steps on to f, and says the last one of a stage that goes on again each
// second: what draws them sees that work without a word goes on. stop ends that.
func Steady(f Func) (_ Func, stop func()) {
	var mu sync.Mutex
	last := Step{Finished: true}
	over, done := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(done)
		tick := time.NewTicker(steadyEvery)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
			}
			mu.Lock()
			if !last.Finished {
				f(last)
			}
			mu.Unlock()
		}
	}()
	step := func(s Step) {
		mu.Lock()
		defer mu.Unlock()
		f(s)
		if s.Stage != "" {
			last = s
			last.Notice = ""
		}
	}
	return step, sync.OnceFunc(func() { close(over); <-done })
}
