package instance

import (
	"context"
	"io"

	"banger/internal/supervisor"
)

// Logs copies the VM's console to w: what there is, and with follow what comes
// until the run's end. fromNow leaves out what was written before.
func (i *Instance) Logs(ctx context.Context, w io.Writer, follow, fromNow bool) error {
	c := &counter{w: w}
	if i.View().HasRun {
		err := supervisor.NewClient(i.Dir()).Console(ctx, follow, fromNow, c)
		if err == nil || c.n > 0 || ctx.Err() != nil {
			return err
		}
	}
	if fromNow {
		return nil
	}
	// The supervisor does not answer: its file has what it wrote.
	return supervisor.CopyConsole(c, i.Dir())
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
