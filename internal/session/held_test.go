package session

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"

	"banger/internal/channel"
	"banger/internal/channel/exec"
)

// guestOf runs a session whose guest is serve, with endless input.
func guestOf(t *testing.T, signals <-chan os.Signal, in io.Reader, serve func(r *exec.Reader, w *exec.Writer)) (exec.Status, error) {
	t.Helper()
	socket := supervisor(t, func(c net.Conn, r *bufio.Reader, _ *http.Request) {
		io.WriteString(c, switching)
		in := exec.NewReader(r)
		if _, err := in.ReadRequest(); err != nil {
			t.Error(err)
			return
		}
		serve(in, exec.NewWriter(c))
		io.Copy(io.Discard, r)
	})
	s, err := Dial(t.Context(), socket, channel.PortExec)
	if err != nil {
		t.Fatal(err)
	}
	return Run(t.Context(), s, Options{Stdin: in, Signals: signals, Stdout: io.Discard, Stderr: io.Discard})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// No more than a window is on its way to a process that takes nothing, and a signal
// passes it; what was taken is replaced.
func TestInputIsHeldBack(t *testing.T) {
	signals := make(chan os.Signal, 1)
	got, err := guestOf(t, signals, endless{}, func(r *exec.Reader, w *exec.Writer) {
		w.WriteTaken(0)
		sent := 0
		next := func() exec.Type {
			typ, p, err := r.Next()
			if err != nil {
				t.Errorf("Next: %v", err)
				return exec.TypeSignal
			}
			if typ == exec.TypeStdin {
				sent += len(p)
			}
			return typ
		}
		for sent < exec.Window {
			next()
		}
		signals <- syscall.SIGINT
		if typ := next(); typ != exec.TypeSignal || sent != exec.Window {
			t.Errorf("after %d bytes came %q, want a signal after a window", sent, typ)
		}
		w.WriteTaken(100)
		if next(); sent != exec.Window+100 {
			t.Errorf("%d bytes were sent, want a window and 100", sent)
		}
		w.WriteStatus(exec.Status{Kind: exec.Exited, Code: 7})
	})
	if got.Code != 7 || err != nil {
		t.Errorf("Run = %+v, %v; want 7", got, err)
	}
}

// An agent that does not count what its process takes gets all input: one that says
// something else first, and one that says nothing.
func TestInputOfEarlierAgents(t *testing.T) {
	for name, says := range map[string]bool{"says something else": true, "silent": false} {
		t.Run(name, func(t *testing.T) {
			const all = 3 * exec.Window
			got, err := guestOf(t, nil, bytes.NewReader(make([]byte, all)), func(r *exec.Reader, w *exec.Writer) {
				if says {
					w.Write(exec.TypeStdout, []byte("x"))
				}
				for sent := 0; ; {
					_, p, err := r.Next()
					if err != nil || len(p) == 0 {
						if sent != all {
							t.Errorf("%d bytes came, %v; want %d", sent, err, all)
						}
						break
					}
					sent += len(p)
				}
				w.WriteStatus(exec.Status{Kind: exec.Exited, Code: 7})
			})
			if got.Code != 7 || err != nil {
				t.Errorf("Run = %+v, %v; want 7", got, err)
			}
		})
	}
}
