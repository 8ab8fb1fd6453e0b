// Package cli is the command banger: one file a command. It reads flags, asks
// bangerd, draws progress, and runs sessions; it keeps nothing.
//
// stdout carries what was asked for alone (the guest's output, a listing);
// progress, notices and errors go to stderr.
package cli
