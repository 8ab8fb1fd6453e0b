// Package daemon is bangerd: the one writer of everything that VMs share. It
// answers the API, keeps the records, sees that images and kernels are there,
// starts supervisors and follows them.
//
// Each VM is owned by one goroutine (machine). A request posts what it wants
// to the owner and waits for the VM's state to show it; it never holds a lock
// over I/O, and its context bounds the waiting alone. The daemon can end at
// any moment: VMs go on under their supervisors, and the next daemon finds
// them (reconcile).
package daemon
