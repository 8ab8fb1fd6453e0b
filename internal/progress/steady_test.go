package progress

import "testing"

func TestSteady(t *testing.T) {
	got := make(chan Step, 100)
	step, stop := Steady(func(s Step) { got <- s })
	step(Step{Stage: "image", Text: "installing", Notice: "once"})
	if s := <-got; s.Text != "installing" || s.Notice != "once" {
		t.Errorf("the step came as %+v", s)
	}
	for range 2 {
		if s := <-got; s.Text != "installing" || s.Notice != "" {
			t.Errorf("it was said again as %+v", s)
		}
	}
	step(Step{Stage: "image", Finished: true})
	stop()
	stop()
	step(Step{Stage: "image", Text: "late"})
	n := 0
	for s := range len(got) {
		if e := <-got; e.Finished || e.Text == "late" {
			n++
		} else if n > 0 {
			t.Errorf("%d: after the end it was said again: %+v", s, e)
		}
	}
	if n != 2 {
		t.Errorf("%d steps passed at the end, want 2", n)
	}
}
