// Package exec is what is said on the guest's exec port: one stream a process,
// a request first, then frames both ways. It knows neither terminals nor
// processes: package session holds the client's side, package agent/command the
// guest's.
package exec
