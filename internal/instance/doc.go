// Package instance is a VM as the daemon owns it, and the set of all of them.
//
// An Instance is one VM. Its record changes under a lock, and each change is
// published as a View that anybody reads without waiting. A verb is one file, one
// method and one operation in the VM's slot: operations on one VM run one after
// the other, equal ones join, and a stronger one ends the weaker ones before it.
// Beside the slot a follower (follow.go) hears what the supervisor of the run
// says.
//
// A supervisor that does not answer is not gone. Gone is what the lock of the
// run and the process identity say is gone: until then the VM keeps its state,
// its owner asks again, and only kill and the backstop of a stop use force.
//
// The set can be closed at any moment: VMs go on under their supervisors, and
// the next Open finds them, takes up each recorded intent again, and removes
// what a crash left.
package instance
