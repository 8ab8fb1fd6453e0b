package policy

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"banger/internal/hint"
)

var update = flag.Bool("update", false, "write testdata/policy.json")

// A policy is in VMs' records and on the way to supervisors of another version.
func TestPolicyJSON(t *testing.T) {
	p := flagsOf(t, "dev --allow example.org --deny *.ads.example config:--allow .example.net:8443 --allow 93.184.216.34 "+
		"--allow [2606:4700:4700::1111]:853 --allow @gcs --allow host:3000 mirrors:--allow mirror.example:443 image:--allow deb.example:80")
	got, err := json.MarshalIndent(p, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile("testdata/policy.json", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/policy.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("testdata/policy.json differs (-want +got), -update writes it:\n%s", diff)
	}
	var back Policy
	if err := json.Unmarshal(want, &back); err != nil || !reflect.DeepEqual(back, p) {
		t.Errorf("testdata/policy.json reads as %+v, %v; want %+v", back, err, p)
	}
	small, err := json.Marshal(Policy{Profile: Public})
	if err != nil || string(small) != `{"profile":"public"}` {
		t.Errorf("the default policy is %s, %v", small, err)
	}
}

func TestPolicyJSONRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{"profile":"open"}`: `no profile is called "open"`,
		`{"profile":"dev","rules":[{"action":"let","pattern":"example.org"}]}`: `no action is called "let"`,
		`{"profile":"dev","rules":[{"action":"deny","pattern":"*"}]}`:          "every name",
	} {
		var p Policy
		if err := json.Unmarshal([]byte(text), &p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Unmarshal(%s): %v, want %q", text, err, want)
		}
	}
	// A group of another version keeps the record readable.
	var p Policy
	err := json.Unmarshal([]byte(`{"profile":"deny","rules":[{"action":"allow","pattern":"@later","origin":{"source":"flag"}}]}`), &p)
	if err != nil {
		t.Fatal(err)
	}
	if v := New(p, lan{}).Judge(Question{Names: []string{"example.org"}, Port: 443, Proto: TCP}); v.Allow {
		t.Errorf("a group that is not known allows: %+v", v)
	}
}

func TestProfiles(t *testing.T) {
	for s, want := range map[string]Profile{"": Public, "deny": DenyAll, "dev": Dev, "public": Public} {
		if got, err := ParseProfile(s); err != nil || got != want {
			t.Errorf("ParseProfile(%q) = %q, %v; want %q", s, got, err, want)
		}
	}
	if _, err := ParseProfile("Open"); err == nil || !strings.Contains(hint.Of(err), "deny, dev or public") {
		t.Errorf("ParseProfile(Open): %v, hint %q", err, hint.Of(err))
	}
	if err := (Policy{Rules: make([]Rule, MaxRules+1)}).Check(); err == nil || hint.Of(err) == "" {
		t.Errorf("Check of too many rules: %v", err)
	}
}

func TestDeniedNames(t *testing.T) {
	p := flagsOf(t, "public --deny a.example --deny *.b.example --deny .c.example --deny a.example:22 --allow d.example --deny 93.184.216.34")
	if got, want := p.DeniedNames(), []string{"a.example", "c.example"}; !reflect.DeepEqual(got, want) {
		t.Errorf("DeniedNames() = %v, want %v", got, want)
	}
}

func TestBelow(t *testing.T) {
	for _, c := range []struct {
		policy, name string
		want         bool
	}{
		{"deny --allow a.b.example", "b.example", true},
		{"deny --allow a.b.example", "EXAMPLE.", true},
		{"deny --allow a.b.example", "a.b.example", false},
		{"deny --allow a.b.example", "x.example", false},
		{"deny --allow *.b.example", "b.example", true},
		{"deny --allow *.b.example", "example", true},
		{"deny --allow .b.example", "c.b.example", true},
		{"deny --deny a.b.example", "b.example", false},
		{"deny --allow host:3000", "banger.internal", true},
		{"deny --allow host:3000", "docker.internal", true},
		{"deny --allow @gcs", "googleapis.com", true},
		{"deny", "com", false},
		{"dev", "ubuntu.com", true},
		{"dev", "amazonaws.com", true},
		{"dev", "evil.example", false},
		{"public", "example", true},
		{"public --deny a.example", "a.example", true},
		{"public --deny .a.example", "a.example", false},
		{"public --deny *.a.example --allow b.a.example", "a.example", true},
		{"public --deny *.example", "a.example", false},
		{"public", "a b", false},
	} {
		if got := New(flagsOf(t, c.policy), lan{}).Below(c.name); got != c.want {
			t.Errorf("policy %q: Below(%q) = %v, want %v", c.policy, c.name, got, c.want)
		}
	}
}

func TestGroups(t *testing.T) {
	all := Groups()
	for _, name := range strings.Fields("forges containers node python rust go jvm apt tools certs editor gcs claude codex gemini copilot") {
		if all[name] == nil {
			t.Errorf("there is no group %s", name)
		}
	}
	for name, g := range all {
		if !strings.HasPrefix(g.Source, "https://") || len(g.Rules) == 0 {
			t.Errorf("group %s has %d names and the source %q", name, len(g.Rules), g.Source)
		}
		seen := map[Pattern]bool{}
		for _, p := range g.Rules {
			if p.Port == 0 || seen[p] {
				t.Errorf("group %s has %s without a port, or twice", name, p)
			}
			seen[p] = true
		}
	}
	for _, name := range []string{"gcs", "editor", "claude", "codex", "gemini", "copilot", "opencode", "cursor"} {
		if all[name].Dev {
			t.Errorf("group %s is in dev", name)
		}
	}
	if !bytes.Contains(groupsText, []byte("\nnoise = ")) || !noise("motd.ubuntu.com") {
		t.Error("there is no list of noise")
	}
}

// Nobody's bucket is in dev.
func TestDevHasNoBuckets(t *testing.T) {
	j := New(Policy{Profile: Dev}, lan{})
	for _, name := range []string{
		"bucket.s3.amazonaws.com", "x.amazonaws.com", "storage.googleapis.com", "bucket.storage.googleapis.com", "x.blob.core.windows.net",
		"lh3.googleusercontent.com", "x.gstatic.com", "x.public.blob.vercel-storage.com", "www.google.com", "azure.com", "x.azure.com",
		"supabase.com", "x.vercel.com", "clerk.com", "figma.com", "x.fastly.com", "x.github.io", "gist.github.com",
		"x.r2.cloudflarestorage.com", "x.azureedge.net", "x.jsdelivr.net",
	} {
		if v := j.Judge(Question{Names: []string{name}, Port: 443, Proto: TCP}); v.Allow {
			t.Errorf("dev allows %s: %s", name, v.Reason)
		}
	}
}

func TestReadGroups(t *testing.T) {
	for text, want := range map[string]string{
		"[group.a]\nnames = [\"*\"]\n":           "every name",
		"[group.a]\nnames = [\"@node\"]\n":       "is no name",
		"[group.a]\nnames = [\"10.0.0.1:80\"]\n": "is no name",
		"[group.a]\nexcept = [\"a b\"]\n":        "more than one",
		"[group.a]\nname = [\"a.example\"]\n":    "strict mode",
		"nois = []\n":                            "strict mode",
	} {
		if _, err := readGroups([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("readGroups(%q): %v, want %q", text, err, want)
		}
	}
}
