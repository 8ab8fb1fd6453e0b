package instance

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"banger/internal/config"
	"banger/internal/paths"
	"banger/internal/supervisor"
)

// The proxies of a VM are those of the command that made it, whatever the daemon has.
func TestEnvironment(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://daemon.example:1")
	i := &Instance{set: &Set{cfg: Config{Dirs: paths.Dirs{State: t.TempDir()}}}, id: "0123456789ab"}
	if err := os.MkdirAll(i.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := i.keepEnvironment([]string{"https_proxy=http://u:p@proxy.example:3128", "TOKEN=s3cret", "NO_PROXY=.corp.example"}); err != nil {
		t.Fatal(err)
	}
	env, err := i.environment()
	if want := []string{"https_proxy=http://u:p@proxy.example:3128", "NO_PROXY=.corp.example"}; err != nil || !slices.Equal(env, want) {
		t.Errorf("kept are %q, %v, want %q", env, err, want)
	}
	want := supervisor.Proxies{HTTPS: "http://u:p@proxy.example:3128", No: ".corp.example"}
	if got := proxiesOf(config.Network{}, env); got != want {
		t.Errorf("the proxies are %+v, want %+v", got, want)
	}
	want = supervisor.Proxies{HTTP: "socks5://config.example", HTTPS: "socks5://config.example"}
	if got := proxiesOf(config.Network{Proxy: "socks5://config.example"}, env); got != want {
		t.Errorf("the configuration's proxies are %+v, want %+v", got, want)
	}
	file := filepath.Join(i.Dir(), paths.EnvironmentFile)
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v, want mode 0600", file, fi.Mode(), err)
	}
	if err := i.keepEnvironment(nil); err != nil {
		t.Fatal(err)
	}
	if env, err := i.environment(); err != nil || proxiesOf(config.Network{}, env) != (supervisor.Proxies{}) {
		t.Errorf("without variables the proxies are those of %q, %v", env, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if env, err := i.environment(); len(env) > 0 || err != nil {
		t.Errorf("without the file there are %q, %v", env, err)
	}
}

// A proxy that can't be used is said, without its credentials.
func TestProxyNote(t *testing.T) {
	for text, want := range map[string]bool{"": false, "http://u:p@proxy.example:3128": false, "proxy.example:3128": false, "socks5://proxy.example": false, "ftp://u:s3cret@proxy.example": true, "http://u:s3cret@:port": true} {
		note := proxyNote(supervisor.Proxies{HTTPS: text})
		if (note != "") != want || strings.Contains(note, "s3cret") {
			t.Errorf("proxyNote(%q) = %q, want one: %v", text, note, want)
		}
	}
}
