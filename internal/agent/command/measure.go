package command

import (
	"context"
	"errors"
	"io"
	"time"

	"banger/internal/channel/exec"
)

// measureRuns is how often Measure forks.
const measureRuns = 21

// Measure times fork, exec and wait of a do-nothing program by the very path
// that exec sessions take, without their stream; each in nanoseconds.
func (s *Service) Measure(ctx context.Context) (nanos []int64, err error) {
	for range measureRuns {
		begin := time.Now()
		p, status := start(exec.Request{Argv: exec.Args("true")}, Terminal{}, nil, nil, s.Groups)
		if p == nil {
			return nanos, errors.New(status.Message)
		}
		p.wait()
		io.Copy(io.Discard, p.stdout)
		p.close()
		nanos = append(nanos, time.Since(begin).Nanoseconds())
	}
	return nanos, ctx.Err()
}
