package mirrors

import (
	"regexp"
	"slices"
	"strings"
)

// variables are those that Read takes, and those of upstream proxies, which package
// instance takes.
var variables = []string{
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
	"PATH", "XDG_CONFIG_HOME", "APT_CONFIG", "npm_lifecycle_event",
	"YARN_REGISTRY", "YARN_RC_FILENAME", "YARN_NPM_REGISTRY_SERVER", "YARN_HTTP_PROXY", "YARN_HTTPS_PROXY",
	"PIP_CONFIG_FILE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_PROXY", "PIP_TRUSTED_HOST",
	"UV_CONFIG_FILE", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS",
	"UV_PYTHON_INSTALL_MIRROR", "UV_PYPY_INSTALL_MIRROR", "UV_INSECURE_HOST",
	"GOENV", "GOPROXY", "GOSUMDB", "GOPRIVATE", "GONOPROXY", "GONOSUMDB",
	"CARGO_HOME", "CARGO_REGISTRY_DEFAULT", "CARGO_HTTP_PROXY", "MAVEN_HOME", "M2_HOME",
}

// variableForms are names that have a part of the user's. npm takes any case, and a key with
// "_" for "-".
var variableForms = regexp.MustCompile(`^(?i:npm_config_(registry|proxy|https[_-]proxy|noproxy|globalconfig|userconfig|prefix|@[a-z0-9._~-]+:registry))$` +
	`|^CARGO_REGISTRIES_[A-Z0-9_]+_INDEX$`)

// maxVariables bounds what Variables keeps, in bytes.
const maxVariables = 64 << 10

// Variables are the variables of env, NAME=VALUE each, that count for a guest's network:
// those of upstream proxies, and those that Read takes. Tokens and passwords in variables of
// their own are not among them; URLs may hold some. What is over 64 KiB in all is left out.
func Variables(env []string) (out []string) {
	size := 0
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		if value == "" || !slices.Contains(variables, name) && !variableForms.MatchString(name) {
			continue
		}
		if size += len(kv); size > maxVariables {
			return out
		}
		out = append(out, kv)
	}
	return out
}
