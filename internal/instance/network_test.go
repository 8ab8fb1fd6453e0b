package instance

import (
	"slices"
	"testing"

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
