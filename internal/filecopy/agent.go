package filecopy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Main is the guest's end as a process of a session: args are "send" or "receive". It
// returns the exit status; what went wrong stands in the answer.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { os.Stdin.Close() }) // what reads it ends
	home, err := os.UserHomeDir()
	if err == nil {
		err = run(ctx, args, home, os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "banger-agent:", err)
		return 1
	}
	return 0
}

func run(ctx context.Context, args []string, home string, in io.Reader, out io.Writer) error {
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
