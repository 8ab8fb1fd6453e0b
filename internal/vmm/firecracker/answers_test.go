package firecracker

import (
	"context"
	"net/http"
	"testing"
	"time"

	"banger/internal/unixsock"
)

func TestAnswers(t *testing.T) {
	hold := make(chan struct{})
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc // nil: there is no socket
		silent bool
	}{
		{"an API that answers", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"state": "Running"}`)) }, false},
		{"an API that refuses", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }, false},
		{"an API that is silent", func(http.ResponseWriter, *http.Request) { <-hold }, true},
		{"a swept directory", nil, false},
	} {
		m := &machine{dir: &workDir{path: t.TempDir()}}
		if c.answer != nil {
			l, err := unixsock.Listen(m.dir.file(fileAPI))
			if err != nil {
				t.Fatal(err)
			}
			s := &http.Server{Handler: c.answer}
			go s.Serve(l) // ends with Close
			t.Cleanup(func() { s.Close() })
		}
		limit := 20 * time.Second
		if c.silent {
			limit = 200 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		if err := m.Answers(ctx); (err != nil) != c.silent {
			t.Errorf("%s: Answers = %v", c.name, err)
		}
		cancel()
	}
	close(hold)
}
