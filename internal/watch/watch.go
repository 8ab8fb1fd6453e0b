// Package watch holds a value that others wait for: each reader gets the value
// together with a channel that is closed at the value's next change. It keeps
// no history, and a slow reader sees the newest value only.
//
//	for {
//		v, changed := value.Get()
//		… // use v; leave the loop if it is the one that was waited for
//		select {
//		case <-changed:
//		case <-ctx.Done():
//			return ctx.Err()
//		}
//	}
package watch

import "sync"

// Value is a value of type T. Its methods may be called at once. A Value is
// made by New and must not be copied.
//
// What T refers to (a pointer, a slice, a map) is shared by all readers: nobody
// changes it in place. Update puts a new one there.
type Value[T any] struct {
	mu      sync.Mutex
	value   T
	changed chan struct{} // closed and replaced at each change
}

// New returns a Value that holds v.
func New[T any](v T) *Value[T] {
	return &Value[T]{value: v, changed: make(chan struct{})}
}

// Get returns the value, and the channel that is closed at its next change. No
// change is missed between the two.
func (v *Value[T]) Get() (T, <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.value, v.changed
}

// Set puts a new value in place of the old one. It counts as a change even if
// both are equal.
func (v *Value[T]) Set(value T) {
	v.Update(func(old *T) { *old = value })
}

// Update lets change alter the value; no other change comes between. change
// runs under the Value's lock: it must be quick and must not call the Value.
func (v *Value[T]) Update(change func(*T)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(&v.value)
	close(v.changed)
	v.changed = make(chan struct{})
}
