// Package policy judges what a VM may reach: by names, addresses and ports before a
// connection is made, and by the name that the first bytes of a connection say.
//
// It only judges: it resolves no name and dials nothing. The one thing that it asks is
// the kernel, how the host would reach an address (Kernel).
//
// A Policy is a value: a profile and rules, kept in a VM's record as JSON. A Judge is made
// of it by New, and answers Judge for a connection, Heard for its first bytes (Read), and
// Below and DeniedNames for the resolver. Judges are safe for concurrent use; a changed
// policy is a new Judge. What is closed, what opens it, the order of rules and what can
// pass is in docs/network.md.
package policy
