//go:build covered

package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// pathCoverage is GET, answers files of counters; in builds for tests alone.
const pathCoverage = "/v1/coverage"

// maxCoverage bounds the answer, in bytes; an agent's files take a tenth.
const maxCoverage = 8 << 20

// covered is a Service that was built with counters.
type covered interface {
	// Coverage returns the files that Go would write at the program's end.
	Coverage() (map[string][]byte, error)
}

func init() {
	testRoutes = append(testRoutes, func(mux *http.ServeMux, s Service) {
		if c, ok := s.(covered); ok {
			mux.HandleFunc("GET "+pathCoverage, func(w http.ResponseWriter, _ *http.Request) {
				files, err := c.Coverage()
				answer(w, files, err)
			})
		}
	})
}

// Coverage fetches the agent's counters.
func (c *Client) Coverage(ctx context.Context) (map[string][]byte, error) {
	body, err := c.call(ctx, http.MethodGet, pathCoverage, nil)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxCoverage+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxCoverage {
		return nil, fmt.Errorf("the guest's counters are larger than %d bytes", maxCoverage)
	}
	var files map[string][]byte
	return files, json.Unmarshal(text, &files)
}
