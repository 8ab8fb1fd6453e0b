// Package daemon is bangerd's door: it takes the state directory's lock, listens
// on the socket in it, and answers the API. What a call does to a VM is package
// instance's business.
//
// A new call is a row in api.Routes and a line in handlers: the test of this
// package fails for a row without a handler.
package daemon
