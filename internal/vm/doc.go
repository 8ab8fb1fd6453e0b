// Package vm says what a VM is: its ID, its Spec, its State and the one table
// of what each event does in each state, and the Record that is kept of it.
//
// It is data and rules only: nothing here touches a file, a process or a
// clock, and it imports nothing of banger's.
package vm
