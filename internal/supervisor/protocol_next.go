//go:build nextprotocol

package supervisor

// Protocol is a made-up next version, for the test that two versions work with
// each other: a field was added to Status, and Text was dropped.
const Protocol = 3

func wire(s Status) any {
	return struct {
		Status
		Text  *string `json:"text,omitempty"`
		Added string  `json:"added"`
	}{Status: s, Added: "by the next version"}
}

func received(s Status) Status {
	s.Text = ""
	return s
}
