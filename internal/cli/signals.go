package cli

import (
	"os"
	"os/signal"
	"syscall"
)

// endSignals are the signals that ask a program to end, without those that were
// ignored when this program began: nohup, or a shell's background job, asked for
// that. It must be called before the first signal.Notify, which would switch an
// ignored signal on again.
func endSignals() []os.Signal {
	var out []os.Signal
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			out = append(out, s)
		}
	}
	return out
}

// ignoreQuit ignores SIGQUIT if SIGINT is ignored: shells ignore the two together
// for background jobs (POSIX, 2.11), but Go's runtime replaces an ignored SIGQUIT
// before main, so its own state at the start can't be seen.
func ignoreQuit() {
	if signal.Ignored(syscall.SIGINT) {
		signal.Ignore(syscall.SIGQUIT)
	}
}

// sessionSignals are what a session answers itself: those that end a program, and
// SIGQUIT.
func (a *app) sessionSignals() []os.Signal {
	out := append([]os.Signal{}, a.ends...)
	if !signal.Ignored(syscall.SIGQUIT) {
		out = append(out, syscall.SIGQUIT)
	}
	return out
}

// notify is signal.Notify, but for no signals at all it does nothing: Notify
// would take that for every signal there is.
func notify(c chan<- os.Signal, signals []os.Signal) {
	if len(signals) > 0 {
		signal.Notify(c, signals...)
	}
}
