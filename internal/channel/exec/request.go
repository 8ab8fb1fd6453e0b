package exec

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// Request asks for one process in the guest. Words are bytes, not text: a
// guest's file names need not be UTF-8, so they are base64 in the JSON.
type Request struct {
	// Argv is the argument vector. An empty one asks for root's login shell.
	Argv [][]byte `json:"argv"`
	// Agent asks for the agent's own program, with Argv as its arguments: for what
	// the image need not have.
	Agent bool `json:"agent,omitempty"`
	// Env are KEY=VALUE pairs beside the guest's own PATH, HOME, USER, ….
	Env [][]byte `json:"env,omitempty"`
	// User is USER or USER:GROUP, each a name or a number; "" is the agent's own user,
	// root.
	User string `json:"user,omitempty"`
	// Dir is the working directory, absolute or relative to the user's home. With
	// OrHome a user who can't enter it is at home.
	Dir    []byte `json:"dir,omitempty"`
	OrHome bool   `json:"or_home,omitempty"`
	// TTY asks for a pseudo-terminal of Size: stdin and stdout are that, and
	// there is no stderr.
	TTY  bool `json:"tty,omitempty"`
	Size Size `json:"size"`
	// Console asks for the user's shell on the guest's serial console, where its input
	// and output are; Argv is empty. There is one at a time.
	Console bool `json:"console,omitempty"`
	// Held says that the host holds stdin back: no more than Window is ever on its
	// way, so that signals and the stream's end pass input that nobody reads. The
	// guest says how much the process took (TypeTaken), beginning with 0 at once.
	Held bool `json:"held,omitempty"`
	// UnixNano is the host's time when the request was sent; 0 is unknown. The guest's
	// clock is not behind it for longer.
	UnixNano int64 `json:"unix_nano,omitempty"`
}

// Needs is the version of the channel's protocol from which on agents heed all of r,
// and for what: an older one would leave that out without a word. What is only of
// use, as Held, needs none.
func (r Request) Needs() (protocol int, what string) {
	switch {
	case r.User != "":
		return 2, "a command's user"
	case r.Console:
		return 2, "a shell on the console"
	}
	return 1, ""
}

// Size of a terminal, in characters.
type Size struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// Args makes an Argv.
func Args(words ...string) [][]byte {
	out := make([][]byte, len(words))
	for i, w := range words {
		out[i] = []byte(w)
	}
	return out
}

// WriteRequest sends the request; it comes before any other frame.
func (w *Writer) WriteRequest(r Request) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if len(text) > MaxRequest {
		return fmt.Errorf("command and environment take %d bytes: the most is %d", len(text), MaxRequest)
	}
	return w.Write(TypeRequest, text)
}

// ReadRequest reads the first frame.
func (r *Reader) ReadRequest() (Request, error) {
	var req Request
	t, p, err := r.Next()
	if err != nil {
		return req, err
	}
	if t != TypeRequest {
		return req, fmt.Errorf("stream begins with a frame of type %q, not a request", byte(t))
	}
	if err := json.Unmarshal(p, &req); err != nil {
		return req, fmt.Errorf("read request: %w", err)
	}
	return req, nil
}

// WriteResize sends a new size of the terminal.
func (w *Writer) WriteResize(s Size) error {
	var p [4]byte
	binary.BigEndian.PutUint16(p[:], s.Rows)
	binary.BigEndian.PutUint16(p[2:], s.Cols)
	return w.Write(TypeResize, p[:])
}

// ParseResize reads a resize frame's payload.
func ParseResize(p []byte) (Size, error) {
	if len(p) != 4 {
		return Size{}, fmt.Errorf("resize has %d bytes, not 4", len(p))
	}
	return Size{binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:])}, nil
}

// WriteTaken says that the process took n more bytes of its input.
func (w *Writer) WriteTaken(n int) error {
	return w.Write(TypeTaken, binary.BigEndian.AppendUint32(nil, uint32(n)))
}

// ParseTaken reads a taken frame's payload.
func ParseTaken(p []byte) (int, error) {
	if len(p) != 4 {
		return 0, fmt.Errorf("count of taken bytes has %d bytes, not 4", len(p))
	}
	return int(binary.BigEndian.Uint32(p)), nil
}

// Kind is how a process ended, or why there was none.
type Kind string

// The kinds.
const (
	Exited        Kind = "exit"           // by itself, with Code
	Signalled     Kind = "signal"         // by signal Signal
	NotFound      Kind = "not-found"      // no such program
	NotExecutable Kind = "not-executable" // there, but can't be executed
	Failed        Kind = "failed"         // the agent could not start it
)

// Status is a process's end.
type Status struct {
	Kind   Kind `json:"kind"`
	Code   int  `json:"code,omitempty"`
	Signal int  `json:"signal,omitempty"`
	// OutOfMemory is how many of the command's processes, its own or what it
	// started, the guest's kernel killed because memory ran out.
	OutOfMemory int `json:"out_of_memory,omitempty"`
	// Message says why there was no process; it comes from the guest.
	Message string `json:"message,omitempty"`
}

// maxMessage bounds Status.Message, in bytes, below TypeExit's limit even when
// JSON writes each byte as six.
const maxMessage = 512

// WriteStatus sends the status; nothing comes after it.
func (w *Writer) WriteStatus(s Status) error {
	if len(s.Message) > maxMessage {
		s.Message = s.Message[:maxMessage]
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return w.Write(TypeExit, text)
}

// ParseStatus reads an exit frame's payload and refuses what no process can
// end with.
func ParseStatus(p []byte) (Status, error) {
	var s Status
	if err := json.Unmarshal(p, &s); err != nil {
		return s, fmt.Errorf("read exit status: %w", err)
	}
	if s.OutOfMemory < 0 {
		return s, fmt.Errorf("%d processes can't have been killed", s.OutOfMemory)
	}
	switch s.Kind {
	case Exited:
		if s.Code < 0 || s.Code > 255 {
			return s, fmt.Errorf("exit status %d is not between 0 and 255", s.Code)
		}
	case Signalled:
		if s.Signal < 1 || s.Signal > 64 {
			return s, fmt.Errorf("signal %d is not between 1 and 64", s.Signal)
		}
	case NotFound, NotExecutable, Failed:
	default:
		return s, fmt.Errorf("exit status has the unknown kind %.20q", s.Kind)
	}
	return s, nil
}

// ExitCode is the status as a shell gives it (POSIX, XCU 2.8.2): 128+n after
// signal n, 127 not found, 126 not executable; 125 where banger failed.
func (s Status) ExitCode() int {
	switch s.Kind {
	case Exited:
		return s.Code
	case Signalled:
		return 128 + s.Signal
	case NotFound:
		return 127
	case NotExecutable:
		return 126
	}
	return 125
}
