// Package filecopy copies files and directories from one machine to another over a
// stream: Send walks what is there, Receive writes it beneath a directory. Both run
// on either side: on the host, and in the guest as the agent's own program. What
// comes out of a stream is not trusted.
//
// The stream is a tar archive. Its first entry, "header", is a Header as JSON; all
// others are "item/NAME…": files, directories, symbolic links; and the last one is
// "end", without which the stream was cut. Devices, sockets and FIFOs are left out.
package filecopy

// Words of the agent's program: its second argument, and the third.
const (
	Program = "copy"
	Out     = "send"    // stdin is a Request, stdout the stream
	In      = "receive" // stdin is the stream, stdout a Result
)

// Request asks a guest for paths, relative to its root's home or absolute.
type Request struct {
	Paths [][]byte `json:"paths"`
}

// Header says what a stream brings.
type Header struct {
	// Dest is where it goes, as Receive takes it; the host's own overrides a guest's.
	Dest  []byte `json:"dest,omitempty"`
	Items int    `json:"items"`
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
	// Error says why there is nothing in the stream.
	Error string `json:"error,omitempty"`
}

// Result is what a Receive did.
type Result struct {
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
	Error string `json:"error,omitempty"`
}

const (
	headerName = "header"
	endName    = "end"
	itemPrefix = "item/"
	maxHeader  = 1 << 20
)
