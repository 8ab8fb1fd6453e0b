package watch

import (
	"sync"
	"testing"
)

func TestGetSetUpdate(t *testing.T) {
	v := New("a")
	got, changed := v.Get()
	if got != "a" {
		t.Errorf("Get = %q, want a", got)
	}
	select {
	case <-changed:
		t.Error("the channel is closed before a change")
	default:
	}
	v.Set("b")
	select {
	case <-changed:
	default:
		t.Error("the channel is open after Set")
	}
	_, changed = v.Get()
	v.Update(func(s *string) { *s += "c" })
	select {
	case <-changed:
	default:
		t.Error("the channel is open after Update")
	}
	if got, _ := v.Get(); got != "bc" {
		t.Errorf("Get = %q, want bc", got)
	}
}

// Readers that wait see the last value, and updates are not lost.
func TestManyAtOnce(t *testing.T) {
	const writers, each = 8, 500
	v := New(0)
	var readers, work sync.WaitGroup
	for range 4 {
		readers.Go(func() { // ends at the last value
			for last := 0; ; {
				n, changed := v.Get()
				if n < last {
					t.Errorf("Get = %d after %d", n, last)
				}
				if last = n; n == writers*each {
					return
				}
				<-changed
			}
		})
	}
	for range writers {
		work.Go(func() {
			for range each {
				v.Update(func(n *int) { *n++ })
			}
		})
	}
	work.Wait()
	readers.Wait()
}
