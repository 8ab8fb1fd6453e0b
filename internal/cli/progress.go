package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"banger/internal/api"
)

// stageEvery is how often a stage that goes on prints a line if stderr is no
// terminal, and how long a stage on a terminal must have taken for its end to
// leave a line.
const stageEvery = 10 * time.Second

// display shows events. Calls come one after the other.
type display interface {
	// event shows e; who names the VM if several are worked on at
	// once, else it is "".
	event(who string, e api.Event)
	// close takes down what is drawn, before anything else is written; notices
	// stay.
	close()
}

// display returns how this command shows events: JSON lines, nothing, live
// stages on a terminal, or plain lines.
func (a *app) display(quiet, asJSON bool) display {
	switch {
	case asJSON:
		return jsonDisplay{a}
	case quiet:
		return quietDisplay{}
	case term.IsTerminal(int(a.stderr.Fd())) && os.Getenv("TERM") != "dumb":
		return newLiveDisplay(a)
	}
	return &plainDisplay{a: a, now: time.Now, stages: map[string]*plainStage{}}
}

// each passes the events of one request on to d.
func each(d display) api.Each { return func(e api.Event) { d.event("", e) } }

type quietDisplay struct{}

func (quietDisplay) event(string, api.Event) {}
func (quietDisplay) close()                  {}

type jsonDisplay struct{ a *app }

func (d jsonDisplay) event(_ string, e api.Event) { json.NewEncoder(d.a.stderr).Encode(e) }
func (d jsonDisplay) close()                      {}

// stepEvery is how long a step must go on to be told if stderr is no terminal.
const stepEvery = time.Second

// plainDisplay prints a line when a stage begins, one when it ends, and one between for
// each step that takes a while, and now and then.
type plainDisplay struct {
	a      *app
	now    func() time.Time
	stages map[string]*plainStage
}

type plainStage struct {
	begin, last time.Time
	text        string // of the last line
	step        string // of the last event
	since       time.Time
}

func (d *plainDisplay) event(who string, e api.Event) {
	if e.Notice != "" {
		d.a.note("%s", e.Notice)
	}
	if e.Stage == "" {
		return
	}
	key := stageName(who, e.Stage)
	s := d.stages[key]
	now := d.now()
	if s != nil && e.Text != s.step {
		s.step, s.since = e.Text, now
	}
	switch {
	case s == nil && e.Finished:
		return // it was there already: nothing was waited for
	case s == nil:
		d.stages[key] = &plainStage{begin: now, last: now, text: e.Text, step: e.Text, since: now}
		d.a.note("%s: %s", key, e.Text)
	case e.Finished:
		if e.Text == "" {
			e.Text = s.text
		}
		d.a.note("%s", finished(key, e, now.Sub(s.begin)))
		delete(d.stages, key)
	case now.Sub(s.last) >= stageEvery, e.Text != s.text && now.Sub(s.since) >= stepEvery:
		s.last, s.text = now, e.Text
		d.a.note("%s: %s%s", key, e.Text, amount(e))
	}
}

func (d *plainDisplay) close() {}

// stageName tells the stages of several VMs apart.
func stageName(who string, stage api.Stage) string {
	if who == "" {
		return string(stage)
	}
	return who + ": " + string(stage)
}

func finished(name string, e api.Event, took time.Duration) string {
	return fmt.Sprintf("%s: %s (%.1f s)", name, e.Text, took.Seconds())
}

// amount is how far a stage is, in words.
func amount(e api.Event) string {
	switch {
	case e.Unit == "bytes" && e.Total > 0:
		return fmt.Sprintf(" (%s of %s)", bytesText(e.Done), bytesText(e.Total))
	case e.Unit == "bytes" && e.Done > 0:
		return fmt.Sprintf(" (%s)", bytesText(e.Done))
	case e.Total > 0:
		return fmt.Sprintf(" (%d of %d)", e.Done, e.Total)
	}
	return ""
}

// sharedDisplay takes events of several requests at once.
type sharedDisplay struct {
	mu sync.Mutex
	d  display
}

func (s *sharedDisplay) event(who string, e api.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.d.event(who, e)
}

func (s *sharedDisplay) close() { s.d.close() }
