package supervisor

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"banger/internal/network/policy"
)

// Before the VMM is launched a network is not there yet, and is not said to be none.
func TestNetworkBeforeLaunch(t *testing.T) {
	for _, tt := range []struct {
		name    string
		network *Network
		profile policy.Profile // "" for no network
		check   int
		says    string
	}{
		{"user", &Network{Policy: policy.Policy{Profile: policy.Dev}}, policy.Dev, http.StatusConflict, "is starting: its network is not there yet"},
		{"none", nil, "", http.StatusOK, "has no network"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &run{board: board{changed: make(chan struct{})}, log: slog.New(slog.DiscardHandler)}
			r.order.Name, r.order.Network = "dev", tt.network
			w := httptest.NewRecorder()
			r.serveNetwork(w, httptest.NewRequest("GET", pathNetwork, nil))
			var got NetworkState
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
				t.Fatalf("it answers %d %s, %v", w.Code, w.Body, err)
			}
			if tt.profile == "" && got.Policy != nil || tt.profile != "" && (got.Policy == nil || got.Policy.Profile != tt.profile) {
				t.Errorf("its policy is %+v, want %q", got.Policy, tt.profile)
			}
			w = httptest.NewRecorder()
			r.serveNetwork(w, httptest.NewRequest("GET", pathNetwork+"?name=a.example&port=443", nil))
			if w.Code != tt.check {
				t.Errorf("asked about a connection it answers %d %s, want %d", w.Code, w.Body, tt.check)
			}
			w = httptest.NewRecorder()
			r.servePolicy(w, httptest.NewRequest("POST", pathPolicy, strings.NewReader("{}")))
			if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), tt.says) {
				t.Errorf("given a policy it answers %d %s, want %q", w.Code, w.Body, tt.says)
			}
		})
	}
}
