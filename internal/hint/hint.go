// Package hint attaches one line of advice, what to type next, to an error.
//
// The advice is attached where the knowledge is and printed once, at the edge
// (the CLI, or the daemon when it turns an error into a response). It is not
// part of the error's text, so wrapping keeps reading well.
package hint

import "errors"

type hinted struct {
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

// Add returns err carrying advice, a sentence that says what to type next. A
// nil err stays nil. Of several hints on one chain the outermost counts.
func Add(err error, advice string) error {
	if err == nil {
		return nil
	}
	return &hinted{err: err, hint: advice}
}

// Of returns the outermost hint on err's chain, or "".
func Of(err error) string {
	var h *hinted
	if errors.As(err, &h) {
		return h.hint
	}
	return ""
}

// ErrMissing is the kind of an error whose cause is that the host lacks a program
// or a right.
var ErrMissing = errors.New("the host lacks a program or a right")

type missing struct{ error }

func (m missing) Unwrap() error        { return m.error }
func (m missing) Is(target error) bool { return target == ErrMissing }

// Missing is Add for an error of the kind ErrMissing.
func Missing(err error, advice string) error {
	if err == nil {
		return nil
	}
	return Add(missing{err}, advice)
}
