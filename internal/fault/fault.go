// Package fault names the effects of banger's verbs, so that a test can make
// each of them go wrong: a crash before or after it, an error, a hang.
//
// In an ordinary build Do only calls the effect. A build with the tag "faults"
// reads from the environment which point fails and how; no release has that tag.
package fault
