package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"banger/internal/api"
)

// plainEvery is how often a stage that goes on prints a line where stderr is
// no terminal.
const plainEvery = 10 * time.Second

// display shows events. One goroutine calls it.
type display interface {
	event(api.Event)
	// close takes down what is drawn; notices stay.
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
		return newLiveDisplay(a.stderr)
	}
	return &plainDisplay{a: a, stages: map[string]*plainStage{}}
}

type quietDisplay struct{}

func (quietDisplay) event(api.Event) {}
func (quietDisplay) close()          {}

type jsonDisplay struct{ a *app }

func (d jsonDisplay) event(e api.Event) { json.NewEncoder(d.a.stderr).Encode(e) }
func (d jsonDisplay) close()            {}

// plainDisplay prints a line when a stage begins and one when it ends.
type plainDisplay struct {
	a      *app
	stages map[string]*plainStage
}

type plainStage struct {
	begin, last time.Time
}

func (d *plainDisplay) event(e api.Event) {
	if e.Notice != "" {
		d.a.note("%s", clean(e.Notice))
	}
	if e.Stage == "" {
		return
	}
	s := d.stages[e.Stage]
	now := time.Now()
	switch {
	case s == nil && e.Finished:
		return // it was there already: nothing was waited for
	case s == nil:
		d.stages[e.Stage] = &plainStage{now, now}
		d.a.note("%s: %s", e.Stage, clean(e.Text))
	case e.Finished:
		d.a.note("%s: %s (%.1f s)", e.Stage, clean(e.Text), now.Sub(s.begin).Seconds())
		delete(d.stages, e.Stage)
	case now.Sub(s.last) >= plainEvery:
		s.last = now
		d.a.note("%s: %s%s", e.Stage, clean(e.Text), amount(e))
	}
}

func (d *plainDisplay) close() {}

func amount(e api.Event) string {
	switch {
	case e.Unit == "bytes" && e.Total > 0:
		return fmt.Sprintf(" (%s of %s)", bytesText(e.Done), bytesText(e.Total))
	case e.Unit == "bytes":
		return fmt.Sprintf(" (%s)", bytesText(e.Done))
	case e.Total > 0:
		return fmt.Sprintf(" (%d of %d)", e.Done, e.Total)
	}
	return ""
}

// liveDisplay draws a line a stage, with the time that it takes.
type liveDisplay struct {
	out   *os.File
	box   *mpb.Progress
	bars  map[string]*mpb.Bar
	texts map[string]*stageText
	style lipgloss.Style
}

// stageText is what a stage's line says now; written and drawn by different
// goroutines.
type stageText struct{ ch chan api.Event }

func newStageText(e api.Event) *stageText {
	t := &stageText{make(chan api.Event, 1)}
	t.ch <- e
	return t
}

func (t *stageText) set(e api.Event) {
	<-t.ch
	t.ch <- e
}

func (t *stageText) get() api.Event {
	e := <-t.ch
	t.ch <- e
	return e
}

func newLiveDisplay(out *os.File) *liveDisplay {
	style := lipgloss.NewStyle()
	if os.Getenv("NO_COLOR") == "" {
		style = style.Foreground(lipgloss.Color("6"))
	}
	return &liveDisplay{
		out: out, bars: map[string]*mpb.Bar{}, texts: map[string]*stageText{}, style: style,
		box: mpb.New(mpb.WithOutput(out), mpb.WithWidth(24), mpb.WithRefreshRate(100*time.Millisecond)),
	}
}

func (d *liveDisplay) event(e api.Event) {
	if e.Notice != "" {
		fmt.Fprintf(d.box, "banger: %s\n", clean(e.Notice))
	}
	if e.Stage == "" {
		return
	}
	bar := d.bars[e.Stage]
	switch {
	case bar == nil && e.Finished:
		return
	case bar == nil:
		text := newStageText(e)
		d.texts[e.Stage] = text
		d.bars[e.Stage] = d.box.New(0, mpb.SpinnerStyle(),
			mpb.BarRemoveOnComplete(),
			mpb.BarFillerTrim(),
			mpb.AppendDecorators(
				decor.Any(func(decor.Statistics) string {
					e := text.get()
					return " " + d.style.Render(e.Stage) + " " + clean(e.Text) + amount(e)
				}),
				decor.Any(func(s decor.Statistics) string { return "" }),
				decor.Elapsed(decor.ET_STYLE_GO, decor.WCSyncSpace),
			))
	case e.Finished:
		bar.SetTotal(-1, true)
		delete(d.bars, e.Stage)
	default:
		d.texts[e.Stage].set(e)
	}
}

func (d *liveDisplay) close() {
	for _, b := range d.bars {
		b.Abort(true)
	}
	d.box.Wait()
}
