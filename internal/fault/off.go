//go:build !faults

package fault

// Do runs effect. name is unique in the program: "verb.effect".
func Do(name string, effect func() error) error { return effect() }
