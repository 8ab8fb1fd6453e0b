package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"charm.land/lipgloss/v2"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"banger/internal/api"
)

const (
	refresh  = 100 * time.Millisecond
	barWidth = 20 // of a stage whose end is known, in characters
)

var spinner = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

// liveDisplay draws a line a stage at the bottom of a terminal, with what it
// does and the time that it takes, and wipes it when the stage is over. One that was
// closed draws again from the next stage on.
type liveDisplay struct {
	a      *app
	box    *mpb.Progress
	stages map[string]*liveStage
	accent lipgloss.Style
	faint  lipgloss.Style
	closed bool
}

// liveStage is written by the one that has the events and drawn by mpb.
type liveStage struct {
	name  string
	begin time.Time
	now   atomic.Pointer[api.Event]
	bar   *mpb.Bar
}

func newLiveDisplay(a *app) *liveDisplay {
	d := &liveDisplay{a: a, stages: map[string]*liveStage{}, accent: lipgloss.NewStyle(), faint: lipgloss.NewStyle()}
	d.open()
	if os.Getenv("NO_COLOR") == "" {
		d.accent = d.accent.Foreground(lipgloss.Cyan)
		d.faint = d.faint.Faint(true)
	}
	return d
}

func (d *liveDisplay) open() {
	d.box, d.closed = mpb.New(mpb.WithOutput(d.a.stderr), mpb.WithRefreshRate(refresh)), false
}

func (d *liveDisplay) event(who string, e api.Event) {
	if e.Notice != "" {
		d.print(e.Notice)
	}
	if e.Stage == "" {
		return
	}
	key := stageName(who, e.Stage)
	s := d.stages[key]
	switch {
	case s == nil && e.Finished:
		return // it was there already: nothing was waited for
	case s == nil:
		if d.closed {
			d.open()
		}
		s = &liveStage{name: clean(key), begin: time.Now()}
		s.now.Store(&e)
		d.stages[key] = s
		draw := mpb.BarFillerFunc(func(w io.Writer, st decor.Statistics) error {
			_, err := io.WriteString(w, d.line(s, st.AvailableWidth, time.Since(s.begin)))
			return err
		})
		// An error would say that the box is closed, and nothing draws any more.
		s.bar, _ = d.box.Add(0, draw, mpb.BarRemoveOnComplete(), mpb.BarFillerTrim())
	case e.Finished:
		s.bar.SetTotal(-1, true)
		delete(d.stages, key)
		if took := time.Since(s.begin); took >= stageEvery {
			d.print(finished(key, e, took))
		}
	default:
		s.now.Store(&e)
	}
}

// print leaves a line above the stages.
func (d *liveDisplay) print(text string) {
	if d.closed {
		d.a.note("%s", text)
		return
	}
	fmt.Fprintf(d.box, "banger: %s\n", clean(text))
}

// line is a stage as it stands, at most width characters wide.
func (d *liveDisplay) line(s *liveStage, width int, took time.Duration) string {
	e := *s.now.Load()
	spin := spinner[int(took/refresh)%len(spinner)]
	tail := fmt.Sprintf("%s %ds", amount(e), int(took.Seconds()))
	bar := ""
	if e.Total > 0 {
		bar = " " + drawBar(e.Done, e.Total)
	}
	room := width - utf8.RuneCountInString(spin+" "+s.name+" "+tail)
	if room < utf8.RuneCountInString(bar)+10 {
		bar = ""
	}
	text := cut(clean(e.Text), room-utf8.RuneCountInString(bar))
	return d.accent.Render(spin+" "+s.name) + " " + text + bar + d.faint.Render(tail)
}

// drawBar is the part of total that is done.
func drawBar(done, total int64) string {
	n := int(min(max(float64(done)/float64(total), 0), 1) * barWidth)
	return strings.Repeat("━", n) + strings.Repeat("╌", barWidth-n)
}

// cut shortens s to at most n characters.
func cut(s string, n int) string {
	switch {
	case utf8.RuneCountInString(s) <= n:
		return s
	case n < 1:
		return ""
	}
	return string([]rune(s)[:n-1]) + "…"
}

// close wipes the lines of stages that are not over.
func (d *liveDisplay) close() {
	if d.closed {
		return
	}
	for _, s := range d.stages {
		s.bar.Abort(true)
	}
	clear(d.stages)
	d.closed = true
	d.box.Wait()
}
