package filecopy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
)

// Run is the guest's end: args are "send" or "receive". What went wrong for the host
// stands in the answer on out.
func Run(ctx context.Context, args []string, home string, in io.Reader, out io.Writer) error {
	switch {
	case len(args) == 1 && args[0] == In:
		got, err := Receive(ctx, in, Options{Dir: home})
		if err != nil {
			got.Error = err.Error()
		}
		return json.NewEncoder(out).Encode(got)
	case len(args) == 1 && args[0] == Out:
		var q Request
		if err := json.NewDecoder(in).Decode(&q); err != nil {
			return err
		}
		var paths []string
		for _, p := range q.Paths {
			paths = append(paths, string(p))
		}
		var h Header
		if _, err := walk(ctx, home, paths, &h); err != nil {
			return Refuse(out, err)
		}
		return Send(ctx, out, home, paths, Header{}, nil)
	}
	return fmt.Errorf("%q: want %s or %s", args, In, Out)
}
