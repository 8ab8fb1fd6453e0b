package mirrors

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hostWith is a host with these files, by absolute path, and variables.
func hostWith(t *testing.T, files map[string]string, env ...string) Host {
	t.Helper()
	root := t.TempDir()
	for p, text := range files {
		p = filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "home/u"), 0o755); err != nil {
		t.Fatal(err)
	}
	return Host{Root: root, Home: "/home/u", Env: env}
}

// lines are the settings as the tests write them.
func lines(f *Found) (out []string) {
	for _, s := range f.Settings {
		line := fmt.Sprintf("%s %s %s", s.Client, s.Key, s.text())
		if s.Host != "" {
			line += fmt.Sprintf(" %s:%d", s.Host, s.Port)
		}
		out = append(out, line+" "+s.Origin+map[bool]string{true: " default"}[s.Default])
	}
	return out
}

// row is one host's configuration and what is found of it.
type row struct {
	name  string
	files map[string]string
	env   []string
	want  []string
	notes []string // a part of each note, in order
}

func (r row) test(t *testing.T) {
	f := Read(hostWith(t, r.files, r.env...))
	if diff := cmp.Diff(r.want, lines(f)); diff != "" {
		t.Errorf("Read(%v %v) (-want +got):\n%s", r.files, r.env, diff)
	}
	if len(f.Notes) != len(r.notes) {
		t.Fatalf("notes are %q, want %d", f.Notes, len(r.notes))
	}
	for i, n := range r.notes {
		if !strings.Contains(f.Notes[i], n) {
			t.Errorf("note %d is %q, want %q in it", i, f.Notes[i], n)
		}
	}
}

func file(path, text string) map[string]string { return map[string]string{path: text} }

var rows = []row{
	// apt
	{name: "sources.list", files: file("/etc/apt/sources.list", `# deb http://no.example.org/debian bookworm main
deb http://deb.example.org/debian bookworm main contrib # a comment
deb-src [signed-by=/k.gpg arch=amd64] https://src.example.org:8443/debian/ bookworm main
deb cdrom:[Debian]/ bookworm main
deb file:/srv/mirror bookworm main
deb nonsense
`), want: []string{
		"apt URIs http://deb.example.org/debian deb.example.org:80 /etc/apt/sources.list",
		"apt URIs https://src.example.org:8443/debian/ src.example.org:8443 /etc/apt/sources.list",
	}},
	{name: "deb822", files: file("/etc/apt/sources.list.d/x.sources", `# Types: deb
Types: deb deb-src
URIs: http://a.example.org/debian
 http://10.1.2.3:8081/debian
# http://no.example.org/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 URIs: http://no.example.org/

Enabled: no
Types: deb
URIs: http://off.example.org/debian
Suites: bookworm

Types: deb
uris: tor+https://b.example.org/debian mirror+http://c.example.org/list
suites: ./
`), want: []string{
		"apt URIs http://a.example.org/debian a.example.org:80 /etc/apt/sources.list.d/x.sources",
		"apt URIs http://10.1.2.3:8081/debian 10.1.2.3:8081 /etc/apt/sources.list.d/x.sources",
		"apt URIs tor+https://b.example.org/debian b.example.org:443 /etc/apt/sources.list.d/x.sources",
		"apt URIs mirror+http://c.example.org/list c.example.org:80 /etc/apt/sources.list.d/x.sources",
	}},
	{name: "files that apt skips", files: map[string]string{
		"/etc/apt/sources.list.d/a.list.save":  "deb http://a.example.org/ x main\n",
		"/etc/apt/sources.list.d/.b.list":      "deb http://a.example.org/ x main\n",
		"/etc/apt/sources.list.d/c.sources~":   "Types: deb\nURIs: http://a.example.org/\nSuites: x\n",
		"/etc/apt/apt.conf.d/x.disabled":       `Acquire::http::Proxy "http://a.example.org:1";`,
		"/etc/apt/preferences.d/no.sources":    "URIs: http://a.example.org/\n",
		"/etc/apt/auth.conf.d/secret.conf":     "machine a.example.org login canary password canary\n",
		"/usr/share/apt/sources.list":          "deb http://a.example.org/ x main\n",
		"/home/u/work/.apt/sources.list":       "deb http://a.example.org/ x main\n",
		"/home/u/.netrc":                       "machine a.example.org login canary password canary\n",
		"/etc/apt/sources.list.d/d.list.d/x.x": "",
	}},
	{name: "list of mirrors", files: map[string]string{
		"/etc/apt/sources.list":         "deb mirror+file:/etc/apt/mirrors/debian.list bookworm main\n",
		"/etc/apt/mirrors/debian.list":  "https://a.example.org/debian\tpriority:1\n# no\nhttps://b.example.org/debian\n",
		"/home/u/work/apt/mirrors.list": "https://no.example.org/debian\n",
	}, want: []string{
		"apt URIs https://a.example.org/debian a.example.org:443 /etc/apt/mirrors/debian.list",
		"apt URIs https://b.example.org/debian b.example.org:443 /etc/apt/mirrors/debian.list",
	}},
	{name: "apt.conf", files: map[string]string{
		"/etc/apt/apt.conf.d/10proxy": `/* Acquire::http::Proxy "http://no.example.org"; */
Acquire { http { Proxy "http://user:canary@proxy.example.org:3128/"; Proxy::Deb.Example.Org "DIRECT"; }; };
acquire::https::proxy "proxy.example.org:3129"; // a comment
#clear Acquire::https::Proxy;
Acquire::https::Verify-Peer "false";
Acquire::http::Proxy-Auto-Detect "/usr/bin/canary";
Acquire::Check-Valid-Until "false";
DPkg::Pre-Invoke { "true"; "echo }"; };
`,
		"/etc/apt/apt.conf": `Acquire::ftp::Proxy "ftp.example.org:1";`,
	}, want: []string{
		"apt Acquire::http::Proxy http://proxy.example.org:3128/ proxy.example.org:3128 /etc/apt/apt.conf.d/10proxy",
		"apt Acquire::http::Proxy::deb.example.org DIRECT /etc/apt/apt.conf.d/10proxy",
		"apt Acquire::https::Proxy http://proxy.example.org:3129 proxy.example.org:3129 /etc/apt/apt.conf.d/10proxy",
		"apt Acquire::Check-Valid-Until false /etc/apt/apt.conf.d/10proxy",
		"apt Acquire::ftp::Proxy http://ftp.example.org:1 ftp.example.org:1 /etc/apt/apt.conf",
	}, notes: []string{"without user info", "it is a command"}},
	{name: "apt.conf's last value", files: map[string]string{
		"/etc/apt/apt.conf.d/10": `Acquire::http::Proxy "http://a.example.org:1";`,
		"/etc/apt/apt.conf.d/20": `Acquire::http::Proxy "http://b.example.org:2";`,
	}, want: []string{"apt Acquire::http::Proxy http://b.example.org:2 b.example.org:2 /etc/apt/apt.conf.d/20"}},
	{name: "apt.conf of wrong syntax", files: map[string]string{
		"/etc/apt/apt.conf.d/10": `Acquire::http::Proxy "http://a.example.org:1"; "`,
		"/etc/apt/apt.conf.d/20": strings.Repeat("a {", 100),
		"/etc/apt/apt.conf.d/30": "}",
	}, want: []string{"apt Acquire::http::Proxy http://a.example.org:1 a.example.org:1 /etc/apt/apt.conf.d/10"},
		notes: []string{"a quote has no end", "more than 32 blocks", "no block begins"}},

	// npm and what reads its files
	{name: "npmrc", files: map[string]string{
		"/etc/npmrc": "registry=https://global.example.org/\nproxy = http://proxy.example.org:3128\n",
		"/home/u/.npmrc": `; a comment
registry = "https://npm.example.org/repo/npm/" 
@corp:registry=https://corp.example.org
//npm.example.org/repo/npm/:_authToken=canary
_auth=canary
https-proxy=null
noproxy=localhost,.example.org
strict-ssl=false
cafile=/etc/ca.pem
`}, want: []string{
		"npm proxy http://proxy.example.org:3128 proxy.example.org:3128 /etc/npmrc",
		"npm registry https://npm.example.org/repo/npm/ npm.example.org:443 /home/u/.npmrc",
		"npm @corp:registry https://corp.example.org corp.example.org:443 /home/u/.npmrc",
		"npm noproxy localhost,.example.org /home/u/.npmrc",
	}},
	{name: "npm's variables", files: file("/home/u/.npmrc", "registry=https://a.example.org\n"),
		env: []string{"npm_config_registry=https://b.example.org", "NPM_CONFIG_HTTPS_PROXY=proxy.example.org:3128", "NPM_CONFIG__AUTHTOKEN=canary", "npm_config_@corp:registry=https://c.example.org"},
		want: []string{
			"npm https-proxy http://proxy.example.org:3128 proxy.example.org:3128 $NPM_CONFIG_HTTPS_PROXY",
			"npm @corp:registry https://c.example.org c.example.org:443 $npm_config_@corp:registry",
			"npm registry https://b.example.org b.example.org:443 $npm_config_registry",
		}},
	{name: "a script of npm's", env: []string{"npm_lifecycle_event=test", "npm_config_registry=https://stranger.example.org", "npm_config_userconfig=/home/u/.evil"},
		notes: []string{"a script of npm's runs"}},
	{name: "files that npm's variables name", files: map[string]string{"/home/u/.config/npm/npmrc": "registry=https://a.example.org\n", "/home/u/.npm-global/etc/npmrc": "@x:registry=https://b.example.org\n"},
		env: []string{"NPM_CONFIG_USERCONFIG=/home/u/.config/npm/npmrc", "NPM_CONFIG_PREFIX=/home/u/.npm-global"},
		want: []string{
			"npm @x:registry https://b.example.org b.example.org:443 /home/u/.npm-global/etc/npmrc",
			"npm registry https://a.example.org a.example.org:443 /home/u/.config/npm/npmrc",
		}},
	{name: "npm's default", files: map[string]string{
		"/usr/share/nodejs/npm/npmrc": "globalconfig=/etc/npmrc\nprefix=/usr/local\n",
		"/usr/share/nodejs/@npmcli/config/lib/definitions/definitions.js": `
define('registry', {
  default: 'https://default.example.org/',
  type: Url,
})
`}, want: []string{"npm registry https://default.example.org/ default.example.org:443 /usr/share/nodejs/@npmcli/config/lib/definitions/definitions.js default"}},
	{name: "npm's default of a later version", files: map[string]string{
		"/usr/bin/npm": "", "/usr/share/nodejs/npm/node_modules/@npmcli/config/lib/definitions/definitions.js": `
  registry: new Definition('registry', {
    default: 'https://default.example.org/',
`}, want: []string{"npm registry https://default.example.org/ default.example.org:443 /usr/share/nodejs/npm/node_modules/@npmcli/config/lib/definitions/definitions.js default"}},
	{name: "yarn", files: map[string]string{
		"/home/u/.yarnrc": "# yarn lockfile v1\nregistry \"https://y1.example.org\"\n\"@corp:registry\" https://c1.example.org\nlastUpdateCheck 1\n\"//y1.example.org/:_authToken\" canary\nblock:\n  registry https://no.example.org\n",
		"/home/u/.yarnrc.yml": `npmRegistryServer: "https://y2.example.org" # a comment
npmAuthToken: canary
httpsProxy: http://u:canary@proxy.example.org:3128
npmScopes:
  corp:
    npmRegistryServer: 'https://c2.example.org'
    npmAuthToken: canary
  other: {npmRegistryServer: "https://no.example.org"}
npmRegistries:
  "https://no.example.org":
    npmAuthToken: canary
plugins:
  - npmRegistryServer: https://no.example.org
`}, env: []string{"YARN_NPM_REGISTRY_SERVER=https://y3.example.org", "YARN_NPM_AUTH_TOKEN=canary"}, want: []string{
		"yarn registry https://y1.example.org y1.example.org:443 /home/u/.yarnrc",
		"yarn @corp:registry https://c1.example.org c1.example.org:443 /home/u/.yarnrc",
		"yarn httpsProxy http://proxy.example.org:3128 proxy.example.org:3128 /home/u/.yarnrc.yml",
		"yarn npmScopes.corp.npmRegistryServer https://c2.example.org c2.example.org:443 /home/u/.yarnrc.yml",
		"yarn npmRegistryServer https://y3.example.org y3.example.org:443 $YARN_NPM_REGISTRY_SERVER",
	}, notes: []string{"without user info"}},
	{name: "pnpm", files: map[string]string{
		"/home/u/.config/pnpm/rc":          "registry=https://a.example.org\n//a.example.org/:_authToken=canary\n",
		"/home/u/.config/pnpm/config.yaml": "registries:\n  \"@corp\": https://b.example.org\nhttpsProxy: no\n",
	}, want: []string{
		"pnpm registry https://a.example.org a.example.org:443 /home/u/.config/pnpm/rc",
		"pnpm @corp:registry https://b.example.org b.example.org:443 /home/u/.config/pnpm/config.yaml",
	}},

	// Python
	{name: "pip.conf", files: map[string]string{
		"/etc/pip.conf": "[global]\nindex-url = https://a.example.org/simple\nproxy = proxy.example.org:3128\ntrusted-host = a.example.org\n",
		"/home/u/.config/pip/pip.conf": `# a comment
[global]
index_url: https://token:canary@pip.example.org/simple/
extra-index-url =
    https://b.example.org/simple
    # no
    https://c.example.org/simple
find-links = /opt/wheels https://d.example.org/wheels
cert = /etc/ca.pem
[install]
no-index = yes
`}, want: []string{
		"pip proxy http://proxy.example.org:3128 proxy.example.org:3128 /etc/pip.conf",
		"pip trusted-host a.example.org /etc/pip.conf",
		"pip index-url https://pip.example.org/simple/ pip.example.org:443 /home/u/.config/pip/pip.conf",
		"pip extra-index-url https://b.example.org/simple b.example.org:443 /home/u/.config/pip/pip.conf",
		"pip extra-index-url https://c.example.org/simple c.example.org:443 /home/u/.config/pip/pip.conf",
		"pip find-links https://d.example.org/wheels d.example.org:443 /home/u/.config/pip/pip.conf",
	}, notes: []string{"without user info"}},
	{name: "pip's variables", files: file("/home/u/.pip/pip.conf", "[global]\nindex-url = https://a.example.org\n"),
		env: []string{"PIP_INDEX_URL=https://b.example.org", "PIP_EXTRA_INDEX_URL=https://c.example.org https://d.example.org", "PIP_FIND_LINKS=/opt/wheels", "PIP_TRUSTED_HOST=b.example.org", "PIP_CLIENT_CERT=/canary"},
		want: []string{
			"pip extra-index-url https://c.example.org c.example.org:443 $PIP_EXTRA_INDEX_URL",
			"pip extra-index-url https://d.example.org d.example.org:443 $PIP_EXTRA_INDEX_URL",
			"pip index-url https://b.example.org b.example.org:443 $PIP_INDEX_URL",
			"pip trusted-host b.example.org $PIP_TRUSTED_HOST",
		}},
	{name: "pip's files off", files: file("/etc/pip.conf", "[global]\nindex-url = https://a.example.org\n"), env: []string{"PIP_CONFIG_FILE=/dev/null"}},
	{name: "pip.conf of wrong syntax", files: file("/etc/pip.conf", "[global]\nindex-url = https://%(host)s/\nproxy = http://p.example.org\ncanary\nindex-url = https://no.example.org\n"),
		want: []string{"pip proxy http://p.example.org p.example.org:80 /etc/pip.conf"}, notes: []string{"line 4", "a variable in it"}},
	{name: "pip's default", files: file("/usr/lib/python3/dist-packages/pip/_internal/models/index.py", `
PyPI = PackageIndex("https://index.example.org/", file_storage_domain="files.example.org")
TestPyPI = PackageIndex("https://no.example.org/", file_storage_domain="no.example.org")
`), want: []string{
		"pip index-url https://index.example.org/ index.example.org:443 /usr/lib/python3/dist-packages/pip/_internal/models/index.py default",
		"pip file storage https://files.example.org files.example.org:443 /usr/lib/python3/dist-packages/pip/_internal/models/index.py default",
	}},
	{name: "pip's default replaced", files: file("/usr/lib/python3/dist-packages/pip/_internal/models/index.py",
		`PyPI = PackageIndex("https://index.example.org/", file_storage_domain="files.example.org")`), env: []string{"PIP_INDEX_URL=https://b.example.org"},
		want: []string{"pip index-url https://b.example.org b.example.org:443 $PIP_INDEX_URL"}},
	{name: "uv.toml", files: map[string]string{
		"/etc/uv/uv.toml": "index-url = \"https://a.example.org\"\nextra-index-url = [\"https://g.example.org\"]\n",
		"/home/u/.config/uv/uv.toml": `python-install-mirror = "https://p.example.org/python"
allow-insecure-host = ["b.example.org"]
[[index]]
name = "corp"
url = "https://u:canary@b.example.org/simple"
default = true
[[index]]
url = "https://c.example.org/simple"
[pip]
find-links = ["https://d.example.org/x", "./wheels"]
[some]
thing = "else"
`}, env: []string{"UV_INDEX=more=https://e.example.org https://f.example.org", "UV_INDEX_MORE_PASSWORD=canary"}, want: []string{
		"uv default-index https://b.example.org/simple b.example.org:443 /home/u/.config/uv/uv.toml",
		"uv python-install-mirror https://p.example.org/python p.example.org:443 /home/u/.config/uv/uv.toml",
		"uv index https://e.example.org e.example.org:443 $UV_INDEX",
		"uv index https://f.example.org f.example.org:443 $UV_INDEX",
		"uv index https://c.example.org/simple c.example.org:443 /home/u/.config/uv/uv.toml",
		"uv find-links https://d.example.org/x d.example.org:443 /home/u/.config/uv/uv.toml",
		"uv allow-insecure-host b.example.org /home/u/.config/uv/uv.toml",
		"uv index https://g.example.org g.example.org:443 /etc/uv/uv.toml",
	}, notes: []string{"without user info"}},
	{name: "uv's default has a name", env: []string{"UV_DEFAULT_INDEX=corp=https://a.example.org"}, want: []string{"uv default-index https://a.example.org a.example.org:443 $UV_DEFAULT_INDEX"}},
	{name: "uv.toml of wrong syntax", files: file("/etc/uv/uv.toml", "index-url = https://canary\n"), notes: []string{"line 1 is no TOML"}},

	// Go
	{name: "go.env", files: map[string]string{
		"/usr/local/go/go.env":   "# a comment\nGOPROXY=https://default.example.org,direct\nGOSUMDB=sum.example.org\n",
		"/home/u/.config/go/env": "GOPROXY=https://user:canary@go.example.org|https://b.example.org:8443/x,off\nGOPRIVATE=*.corp.example.org,github.com/corp\nGOFLAGS=-insecure\nGOAUTH=canary\n",
	}, env: []string{"GONOSUMDB=*.example.org", "GOINSECURE=*"}, want: []string{
		"go GOSUMDB https://sum.example.org sum.example.org:443 /usr/local/go/go.env default",
		"go GOPROXY https://go.example.org go.example.org:443 /home/u/.config/go/env",
		"go GOPROXY https://b.example.org:8443/x b.example.org:8443 /home/u/.config/go/env",
		"go GOPROXY off /home/u/.config/go/env",
		"go GOPRIVATE *.corp.example.org,github.com/corp /home/u/.config/go/env",
		"go GONOSUMDB *.example.org $GONOSUMDB",
	}, notes: []string{"without user info"}},
	{name: "Go's variables", files: file("/home/u/.config/go/env", "GOPROXY=https://no.example.org\n"),
		env: []string{"GOENV=off", "GOPROXY=https://a.example.org,file:///srv/proxy,direct", "GOSUMDB=sum.example.org+0123abcd+AbCdEf+/= https://sums.example.org/x"}, want: []string{
			"go GOPROXY https://a.example.org a.example.org:443 $GOPROXY",
			"go GOPROXY direct $GOPROXY",
			"go GOSUMDB https://sums.example.org/x sums.example.org:443 $GOSUMDB",
		}},
	{name: "GOENV", files: file("/home/u/.go-env", "GOSUMDB=off\n"), env: []string{"GOENV=/home/u/.go-env"}, want: []string{"go GOSUMDB off /home/u/.go-env"}},

	// cargo
	{name: "config.toml", files: file("/home/u/.cargo/config.toml", `
[source.crates-io]
replace-with = "corp"
[source.corp]
registry = "sparse+https://cargo.example.org/index/"
[source.git]
git = "https://git.example.org/crates.git"
[source.vendored]
directory = "vendor"
[registries.other]
index = "ssh://git@git2.example.org/index.git"
token = "canary"
[registry]
default = "other"
token = "canary"
[http]
proxy = "socks5h://proxy.example.org"
[net]
git-fetch-with-cli = true
[build]
rustc-wrapper = "canary"
`), env: []string{"CARGO_REGISTRIES_MY_REG_INDEX=https://d.example.org/index", "CARGO_REGISTRIES_MY_REG_TOKEN=canary"}, want: []string{
		"cargo source.corp sparse+https://cargo.example.org/index/ cargo.example.org:443 /home/u/.cargo/config.toml",
		"cargo source.crates-io corp /home/u/.cargo/config.toml",
		"cargo source.git https://git.example.org/crates.git git.example.org:443 /home/u/.cargo/config.toml",
		"cargo registries.other ssh://git2.example.org/index.git git2.example.org:22 /home/u/.cargo/config.toml",
		"cargo http.proxy socks5h://proxy.example.org proxy.example.org:1080 /home/u/.cargo/config.toml",
		"cargo registry.default other /home/u/.cargo/config.toml",
		"cargo registries.my-reg https://d.example.org/index d.example.org:443 $CARGO_REGISTRIES_MY_REG_INDEX",
	}, notes: []string{"it takes a key"}},
	{name: "cargo's older file goes first", files: map[string]string{
		"/home/u/.local/share/cargo/config":      "[registries.a]\nindex = \"https://a.example.org\"\n",
		"/home/u/.local/share/cargo/config.toml": "[registries.b]\nindex = \"https://b.example.org\"\n",
	}, env: []string{"CARGO_HOME=/home/u/.local/share/cargo"}, want: []string{"cargo registries.a https://a.example.org a.example.org:443 /home/u/.local/share/cargo/config"}},

	// Maven
	{name: "settings.xml", files: map[string]string{
		"/etc/maven/settings.xml": `<settings>
  <mirrors><mirror><id>corp</id><mirrorOf>*</mirrorOf><url>https://no.example.org</url></mirror><mirror><id>all</id><mirrorOf>central</mirrorOf><url>https://all.example.org</url></mirror></mirrors>
  <proxies><proxy><id>p</id><host>no.example.org</host></proxy></proxies>
  <profiles>
    <profile><id>g</id><repositories><repository><id>r</id><url>https://g.example.org</url></repository></repositories></profile>
    <profile><id>b</id><repositories><repository><id>r</id><url>https://no.example.org</url></repository></repositories></profile>
  </profiles>
</settings>`,
		"/home/u/.m2/settings.xml": `<?xml version="1.0" encoding="UTF-8"?>
<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0">
  <servers><server><id>corp</id><username>canary</username><password>canary</password></server></servers>
  <mirrors>
    <mirror><id>corp</id><mirrorOf>*,!local</mirrorOf><url>https://user:canary@maven.example.org/repo</url></mirror>
    <mirror><id>blocker</id><mirrorOf>external:http:*</mirrorOf><url>http://0.0.0.0/</url><blocked>true</blocked></mirror>
    <mirror><id>env</id><mirrorOf>x</mirrorOf><url>https://${env.CANARY}/</url></mirror>
  </mirrors>
  <proxies>
    <proxy><id>p</id><active>true</active><protocol>http</protocol><host>proxy.example.org</host><port>3128</port><username>canary</username><password>canary</password><nonProxyHosts>localhost|*.example.org</nonProxyHosts></proxy>
    <proxy><active>false</active><host>no.example.org</host></proxy>
  </proxies>
  <profiles>
    <profile><id>a</id><repositories><repository><id>r</id><url>https://r.example.org</url></repository></repositories></profile>
    <profile><id>b</id><repositories><repository><id>r</id><url>https://no.example.org</url></repository></repositories></profile>
    <profile><id>c</id><activation><activeByDefault>true</activeByDefault></activation><pluginRepositories><pluginRepository><id>q</id><url>https://q.example.org</url></pluginRepository></pluginRepositories></profile>
  </profiles>
  <activeProfiles><activeProfile>a</activeProfile><activeProfile>g</activeProfile></activeProfiles>
</settings>`}, want: []string{
		"maven mirror https://maven.example.org/repo maven.example.org:443 /home/u/.m2/settings.xml",
		"maven repository https://r.example.org r.example.org:443 /home/u/.m2/settings.xml",
		"maven pluginRepository https://q.example.org q.example.org:443 /home/u/.m2/settings.xml",
		"maven proxy http://proxy.example.org:3128 proxy.example.org:3128 /home/u/.m2/settings.xml",
		"maven mirror https://all.example.org all.example.org:443 /etc/maven/settings.xml",
		"maven repository https://g.example.org g.example.org:443 /etc/maven/settings.xml",
	}, notes: []string{"without user info", "a variable in it"}},
	{name: "settings.xml of wrong syntax", files: file("/home/u/.m2/settings.xml", "<!DOCTYPE x [<!ENTITY a SYSTEM \"file:///canary\">]><settings><mirrors>&a;"), notes: []string{"it is no XML"}},
	{name: "Gradle", files: map[string]string{"/home/u/.gradle/init.gradle": "maven { url 'https://no.example.org' }", "/home/u/.gradle/init.d/x.gradle.kts": ""},
		notes: []string{"init.gradle", "init.d"}},
}

func TestRead(t *testing.T) {
	for _, r := range rows {
		t.Run(r.name, r.test)
	}
}

// A clone of a stranger's repository, and what may lead to it, opens nothing.
var strangers = []row{
	{name: ".npmrc in the home directory's work tree", files: file("/home/u/src/app/.npmrc", "registry=https://stranger.example.org\n")},
	{name: "NPM_CONFIG_USERCONFIG", files: file("/home/u/src/app/.npmrc", "registry=https://stranger.example.org\n"),
		env: []string{"NPM_CONFIG_USERCONFIG=/home/u/src/app/.npmrc"}, notes: []string{"neither the system's nor a hidden directory"}},
	{name: "NPM_CONFIG_USERCONFIG that is relative", files: file("/home/u/.npmrc", "registry=https://own.example.org\n"), env: []string{"NPM_CONFIG_USERCONFIG=.npmrc"},
		want: []string{"npm registry https://own.example.org own.example.org:443 /home/u/.npmrc"}, notes: []string{"not absolute"}},
	{name: "NPM_CONFIG_USERCONFIG with dots", files: file("/home/u/src/app/.npmrc", "registry=https://stranger.example.org\n"),
		env: []string{"NPM_CONFIG_USERCONFIG=/home/u/.config/../src/app/.npmrc"}, notes: []string{"neither"}},
	{name: "npm's prefix", files: map[string]string{"/home/u/src/app/etc/npmrc": "registry=https://stranger.example.org\n", "/home/u/.npmrc": "prefix=/home/u/src/app\n"}, notes: []string{"neither"}},
	{name: "pip.conf and a virtual environment", files: map[string]string{"/srv/app/pip.conf": "[global]\nindex-url=https://stranger.example.org\n", "/srv/app/.venv/pip.conf": "[global]\nindex-url=https://stranger.example.org\n"},
		env: []string{"VIRTUAL_ENV=/srv/app/.venv"}},
	{name: "PIP_CONFIG_FILE", files: file("/srv/app/pip.conf", "[global]\nindex-url=https://stranger.example.org\n"),
		env: []string{"PIP_CONFIG_FILE=/srv/app/pip.conf"}, notes: []string{"neither"}},
	{name: "UV_CONFIG_FILE and uv.toml", files: file("/tmp/app/uv.toml", "index-url=\"https://stranger.example.org\"\n"),
		env: []string{"UV_CONFIG_FILE=/tmp/app/uv.toml"}, notes: []string{"neither"}},
	{name: "GOENV and go.env", files: file("/workspace/app/go.env", "GOPROXY=https://stranger.example.org\nGOFLAGS=-insecure\n"),
		env: []string{"GOENV=/workspace/app/go.env"}, notes: []string{"neither"}},
	{name: ".cargo above the current directory", files: file("/home/u/src/.cargo/config.toml", "[registries.x]\nindex=\"https://stranger.example.org\"\n")},
	{name: ".cargo of the root directory", files: file("/.cargo/config.toml", "[registries.x]\nindex=\"https://stranger.example.org\"\n")},
	{name: "CARGO_HOME", files: file("/home/u/src/app/.cargo/config.toml", "[registries.x]\nindex=\"https://stranger.example.org\"\n"),
		env: []string{"CARGO_HOME=/home/u/src/app/.cargo"}, notes: []string{"neither"}},
	{name: ".yarnrc.yml", files: file("/home/u/src/app/.yarnrc.yml", "npmRegistryServer: https://stranger.example.org\n"),
		env: []string{"YARN_RC_FILENAME=app.yml"}, notes: []string{"names a file of projects"}},
	{name: "M2_HOME", files: file("/home/u/src/app/conf/settings.xml", "<settings/>"), env: []string{"M2_HOME=/home/u/src/app"}, notes: []string{"neither"}},
	{name: "APT_CONFIG", files: file("/home/u/src/app/apt.conf", `Acquire::http::Proxy "http://stranger.example.org";`), env: []string{"APT_CONFIG=/home/u/src/app/apt.conf"}, notes: []string{"neither"}},
	{name: "XDG_CONFIG_HOME", files: file("/home/u/src/app/go/env", "GOPROXY=https://stranger.example.org\n"), env: []string{"XDG_CONFIG_HOME=/home/u/src/app"}, notes: []string{"neither"}},
	{name: "programs of a project in PATH", files: map[string]string{
		"/home/u/src/app/bin/go": "", "/home/u/src/app/go.env": "GOPROXY=https://stranger.example.org\n",
		"/home/u/src/app/bin/npm": "", "/home/u/src/app/npmrc": "registry=https://stranger.example.org\n", "/home/u/src/app/bin/node": "", "/home/u/src/app/etc/npmrc": "registry=https://stranger.example.org\n",
	}, env: []string{"PATH=/home/u/src/app/bin:bin:."}},
	{name: "a list of mirrors", files: map[string]string{"/home/u/src/app/list": "http://stranger.example.org\n", "/etc/apt/sources.list": "deb mirror+file:/home/u/src/app/list x main\n"}, notes: []string{"neither"}},
}

func TestStrangers(t *testing.T) {
	for _, r := range strangers {
		t.Run(r.name, r.test)
	}
}

// No secret of a configuration comes out in any way.
func TestNoSecrets(t *testing.T) {
	for _, r := range append(slices.Clone(rows), strangers...) {
		f := Read(hostWith(t, r.files, r.env...))
		c, notes := f.Guest(Distribution{})
		for _, x := range []any{f.Settings, f.Rules(), f.Unknown, f.Notes, c, c.Apt, notes} {
			if text := fmt.Sprintf("%+v", x); strings.Contains(strings.ToLower(text), "canary") {
				t.Errorf("%s: %s", r.name, text)
			}
		}
	}
}
