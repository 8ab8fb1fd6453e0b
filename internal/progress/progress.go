// Package progress is how long work says how far it is. It draws nothing: the
// daemon sends steps on as events, the CLI draws them.
package progress

// Step is where a piece of work stands.
type Step struct {
	Stage string // "image", "kernel", "disk", "boot", …: one line on the terminal
	Text  string // the step in words, for a person
	// Done and Total count Unit ("bytes" or "steps"); Total 0 is unknown.
	Done, Total int64
	Unit        string
	Finished    bool   // the stage is over
	Notice      string // a line that outlives the stage
}

// Func takes steps. It may be called from several goroutines, does not block
// for long, and is never nil: use Discard.
type Func func(Step)

// Discard drops all steps.
func Discard(Step) {}
