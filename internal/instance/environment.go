package instance

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"banger/internal/config"
	"banger/internal/durable"
	"banger/internal/fault"
	"banger/internal/network/dial"
	"banger/internal/network/mirrors"
	"banger/internal/paths"
	"banger/internal/supervisor"
)

// keepEnvironment keeps what counts of the environment in which the VM was asked for: a file
// that is the user's only, as it may hold credentials of proxies. Its variables stand as in
// /proc/PID/environ.
func (i *Instance) keepEnvironment(env []string) error {
	text := strings.Join(mirrors.Variables(env), "\x00")
	return fault.Do("create.environment", func() error {
		return durable.Replace(filepath.Join(i.Dir(), paths.EnvironmentFile), []byte(text))
	})
}

// environment is the one in which the VM was asked for; empty if it was not kept.
func (i *Instance) environment() ([]string, error) {
	text, err := os.ReadFile(filepath.Join(i.Dir(), paths.EnvironmentFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.Split(string(text), "\x00"), err
}

// proxiesOf are a VM's upstream proxies: the configuration's, else those of env.
func proxiesOf(c config.Network, env []string) supervisor.Proxies {
	if c.Proxy != "" {
		return supervisor.Proxies{HTTP: c.Proxy, HTTPS: c.Proxy, No: c.NoProxy}
	}
	vars := map[string]string{}
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		vars[name] = value
	}
	either := func(name string) string { return cmp.Or(vars[name], vars[strings.ToLower(name)]) }
	return supervisor.Proxies{HTTP: either("HTTP_PROXY"), HTTPS: either("HTTPS_PROXY"), No: either("NO_PROXY")}
}

// proxyNote says why a VM goes without its upstream proxies; "" if it does not.
func proxyNote(p supervisor.Proxies) string {
	if _, err := dial.NewProxies(p.HTTP, p.HTTPS, p.No); err != nil {
		return fmt.Sprintf("connections go without an upstream proxy: %v", err)
	}
	return ""
}
