package firecracker

import (
	"context"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"banger/internal/unixsock"
)

func TestAnswers(t *testing.T) {
	hold := make(chan struct{})
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		silent bool
	}{
		{"an API that answers", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"state": "Running"}`)) }, false},
		{"an API that refuses", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }, false},
		{"an API that is silent", func(http.ResponseWriter, *http.Request) { <-hold }, true},
	} {
		path := filepath.Join(t.TempDir(), fileAPI)
		l, err := unixsock.Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: c.answer}
		go s.Serve(l) // ends with Close
		t.Cleanup(func() { s.Close() })
		m := &machine{}
		if m.api, err = unixsock.Hold(path); err != nil {
			t.Fatal(err)
		}
		defer m.api.Close()
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
