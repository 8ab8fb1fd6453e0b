package api

// Lock is the line of JSON in the file that the daemon of a state directory
// holds locked (flock(2)): whom to name when that daemon does not answer.
type Lock struct {
	PID     int    `json:"pid"`
	Version string `json:"version"`
	Socket  string `json:"socket"`
}
