//go:build !nextprotocol

package supervisor

// Protocol is the version of all that is said between a supervisor and its
// clients. A supervisor outlives upgrades of its clients, so versions N and N+1
// work with each other in both directions: both sides ignore fields that they do
// not know, and need none that the other version lacks.
const Protocol = 2

// wire is a Status as this version sends it.
func wire(s Status) any { return s }

// received is a Status as this version reads it.
func received(s Status) Status { return s }
