// Package workspace is the host's half of a workspace: a git repository that goes
// into a guest, and what comes out of the guest again. It is the one place on the
// host where git runs. The guest's half is package agent/workspace, what the two
// say to each other package wire.
//
//	Open        a repository, read as data (repository.go)
//	NewPlan     what of it goes in, and its base (plan.go)
//	Plan.Send   the stream into the guest (send.go)
//	Store       base, heads and work of one workspace, on the host (store.go)
//	Store.Import  what a guest reports, checked, into the store (import.go)
//	Store.Patch   a patch for plain git apply (patch.go)
//
// A repository can be a stranger's. No git runs in it: all run in a scratch
// repository of ours (scratch.go) with a configuration of ours, whose objects are
// the user's as alternates, and whose work tree holds nothing but copies. Files are
// read beneath the repository's root, without following a link (files.go).
package workspace
