package mirrors

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every variable that the docs name is taken from a command's environment, and no secret's.
func TestVariables(t *testing.T) {
	text, err := os.ReadFile("../../../docs/network-mirrors.md")
	if err != nil {
		t.Fatal(err)
	}
	table, _, _ := strings.Cut(string(text), "A repository opens nothing")
	named := regexp.MustCompile("`([A-Z][A-Z0-9_*]{3,})`").FindAllStringSubmatch(table, -1)
	if len(named) < 20 {
		t.Fatalf("the docs name %d variables", len(named))
	}
	for _, n := range named {
		kv := strings.ReplaceAll(n[1], "*", "MY") + "=x"
		if got := Variables([]string{kv}); !slices.Equal(got, []string{kv}) {
			t.Errorf("%s is documented, and not taken", n[1])
		}
	}
	env := []string{
		"HTTPS_PROXY=http://u:p@proxy.example:3128", "no_proxy=.corp.example", "npm_config_registry=https://npm.example/",
		"NPM_CONFIG_HTTPS_PROXY=http://proxy.example", "npm_config_@corp:registry=https://npm.corp.example/", "npm_lifecycle_event=test",
	}
	never := []string{
		"npm_config_//npm.example/:_authToken=s3cret", "npm_config__auth=s3cret", "NPM_TOKEN=s3cret", "CARGO_REGISTRIES_CORP_TOKEN=s3cret",
		"UV_INDEX_CORP_PASSWORD=s3cret", "GOFLAGS=-x", "AWS_SECRET_ACCESS_KEY=s3cret", "HTTP_PROXY=", "HTTP_PROXY", "",
	}
	if diff := cmp.Diff(env, Variables(append(slices.Clone(never), env...))); diff != "" {
		t.Errorf("of an environment these are taken (-want +got):\n%s", diff)
	}
	if got := Variables([]string{"GOPROXY=a", "PATH=" + strings.Repeat("x", maxVariables), "GOSUMDB=b"}); len(got) != 1 {
		t.Errorf("of an environment that is too long %d variables are taken, want 1", len(got))
	}
}
