package cli

import (
	"strings"
	"testing"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/google/go-cmp/cmp"

	"banger/internal/api"
)

// In a pipe a stage is a line when it begins and one when it ends, and between
// them one for a step that lasts, and one in ten seconds, however many events come.
func TestPlainDisplay(t *testing.T) {
	a, o := newApp(t)
	now := time.Unix(0, 0)
	d := &plainDisplay{a: a, now: func() time.Time { return now }, stages: map[string]*plainStage{}}
	say := func(after time.Duration, who string, e api.Event) {
		now = now.Add(after)
		d.event(who, e)
	}
	say(0, "", api.Event{Stage: "image", Text: "is here", Finished: true}) // nothing was waited for
	say(0, "", api.Event{Stage: "kernel", Text: "pulling"})
	for range 2500 {
		say(10*time.Millisecond, "", api.Event{Stage: "kernel", Text: "pulling", Done: 1 << 20, Total: 2 << 20, Unit: "bytes"})
	}
	say(0, "", api.Event{Stage: "kernel", Text: "short", Total: 8, Unit: "steps"})
	say(900*time.Millisecond, "", api.Event{Stage: "kernel", Text: "unpacking", Done: 1, Total: 8, Unit: "steps"})
	for range 3 {
		say(time.Second, "", api.Event{Stage: "kernel", Text: "installing", Done: 2, Total: 8, Unit: "steps"})
	}
	say(0, "", api.Event{Stage: "kernel", Text: "is here", Finished: true})
	say(0, "", api.Event{Notice: "a \x1b[31mnotice"})
	say(0, "a", api.Event{Stage: "boot", Text: "starting"})
	say(0, "b", api.Event{Stage: "boot", Text: "starting"})
	say(2*time.Second, "a", api.Event{Stage: "boot", Text: "ready", Finished: true})
	say(0, "", api.Event{})
	d.close()
	want := strings.Join([]string{
		"banger: kernel: pulling",
		"banger: kernel: pulling (1 MiB of 2 MiB)",
		"banger: kernel: pulling (1 MiB of 2 MiB)",
		"banger: kernel: installing (2 of 8)",
		"banger: kernel: is here (28.9 s)",
		`banger: a \x1b[31mnotice`,
		"banger: a: boot: starting",
		"banger: b: boot: starting",
		"banger: a: boot: ready (2.0 s)",
		"",
	}, "\n")
	if diff := cmp.Diff(want, o.stderr()); diff != "" {
		t.Errorf("stderr differs (-want +got):\n%s", diff)
	}
	if got := o.stdout(); got != "" {
		t.Errorf("stdout has %q, want nothing", got)
	}
}

func TestJSONDisplay(t *testing.T) {
	a, o := newApp(t)
	d := a.display(true, true) // --json counts
	d.event("", api.Event{Stage: "boot", Text: "x\x1b\n"})
	d.event("", api.Event{Notice: "n"})
	d.close()
	want := `{"stage":"boot","text":"x\u001b\n"}` + "\n" + `{"notice":"n"}` + "\n"
	if got := o.stderr(); got != want {
		t.Errorf("stderr has %q, want %q", got, want)
	}
}

func TestQuietDisplay(t *testing.T) {
	a, o := newApp(t)
	d := a.display(true, false)
	d.event("", api.Event{Stage: "boot", Notice: "n"})
	d.close()
	if got := o.stderr(); got != "" {
		t.Errorf("stderr has %q, want nothing", got)
	}
}

func TestLiveLine(t *testing.T) {
	d := &liveDisplay{accent: lipgloss.NewStyle(), faint: lipgloss.NewStyle()}
	for _, test := range []struct {
		e     api.Event
		width int
		took  time.Duration
		want  string
	}{
		{api.Event{Text: "booting"}, 80, 2300 * time.Millisecond, "⠸ boot booting 2s"},
		{api.Event{Text: "bo\x1bot"}, 80, 0, `⠋ boot bo\x1bot 0s`},
		{api.Event{Text: "unpacking", Done: 1 << 20, Total: 4 << 20, Unit: "bytes"}, 80, 0, "⠋ boot unpacking ━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌ (1 MiB of 4 MiB) 0s"},
		{api.Event{Text: "unpacking", Done: 9, Total: 4, Unit: "steps"}, 80, 0, "⠋ boot unpacking ━━━━━━━━━━━━━━━━━━━━ (9 of 4) 0s"},
		{api.Event{Text: "writing", Done: 1 << 20, Unit: "bytes"}, 80, 0, "⠋ boot writing (1 MiB) 0s"},
		{api.Event{Text: "a text that is long", Done: 1, Total: 4}, 30, 0, "⠋ boot a text tha… (1 of 4) 0s"},
		{api.Event{Text: "text"}, 5, 0, "⠋ boot  0s"},
	} {
		s := &liveStage{name: "boot"}
		s.now.Store(&test.e)
		if got := d.line(s, test.width, test.took); got != test.want {
			t.Errorf("line of %+v, %d wide:\n%q, want\n%q", test.e, test.width, got, test.want)
		}
	}
}

// A display that was closed for a session's sake draws again afterwards.
func TestLiveDisplayAgain(t *testing.T) {
	a, _ := newApp(t)
	d := newLiveDisplay(a)
	for range 2 {
		d.event("", api.Event{Stage: "boot", Text: "booting"})
		if d.closed || d.stages["boot"].bar == nil {
			t.Error("the display does not draw")
		}
		d.event("", api.Event{Stage: "boot", Text: "ready", Finished: true})
		d.close()
	}
}
