package instance

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"banger/internal/agent/hostconfig"
	"banger/internal/network/policy"
)

// The image's archives are allowed on their ports, and a profile dev takes them.
func TestImageRules(t *testing.T) {
	rules := imageRules([]string{"http://deb.example.org", "https://sec.example.org", "http://own.example.org:8080", "http://127.0.0.1", "ht tp"})
	var got []string
	for _, r := range rules {
		got = append(got, r.Pattern.String())
		if r.Action != policy.Allow || r.Origin.Source != policy.FromImage {
			t.Errorf("%v is no rule of the image's: %+v", r, r.Origin)
		}
	}
	want := []string{"deb.example.org:80", "sec.example.org:443", "own.example.org:8080"}
	if !slices.Equal(got, want) {
		t.Fatalf("imageRules() = %q, want %q", got, want)
	}
	for profile, allow := range map[policy.Profile]bool{policy.Dev: true, policy.DenyAll: false} {
		j := policy.New(policy.Policy{Profile: profile, Rules: rules}, policy.Kernel{})
		if v := j.Judge(policy.Question{Names: []string{"deb.example.org"}, Port: 80, Proto: policy.TCP}); v.Allow != allow {
			t.Errorf("under %s: %+v, want %t", profile, v, allow)
		}
	}
}

// A host's configuration that is too large leaves a guest without it, and says so: the guest
// would not take its identity.
func TestHostConfig(t *testing.T) {
	c := hostconfig.Config{Certificates: make([]hostconfig.Certificate, 100)}
	for i := range c.Certificates {
		c.Certificates[i].PEM = strings.Repeat("0123456789abcdef\n", 150)
	}
	text, note, err := hostConfig(c)
	var back hostconfig.Config
	if err != nil || note != "" || json.Unmarshal(text, &back) != nil || len(back.Certificates) != 100 {
		t.Errorf("hostConfig of %d bytes: %q, %v", len(text), note, err)
	}
	c.Certificates[0].PEM = strings.Repeat("x", maxHostConfig)
	if text, note, err = hostConfig(c); text != nil || err != nil || !strings.Contains(note, "100 certificates") {
		t.Errorf("hostConfig of too much: %d bytes, %q, %v", len(text), note, err)
	}
}
