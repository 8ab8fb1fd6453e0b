// Package mirrors finds the hosts that this host's package clients are configured
// with, and what of that configuration goes into a guest. It reads files and
// variables by parsers of its own. It runs no client, asks no network and writes
// nothing; internal/agent/hostconfig writes the guest's files.
//
// # What is read
//
// Only the system's files, the user's files and named variables are read, because
// a repository must not open anything: no file in the current directory or above
// it, in a virtual environment or in a project. A file counts only if it lies below
// a directory of the system (systemDirs) or below a hidden directory or file of the
// home directory, after links were followed, so a link or a variable that leads into
// a repository is noted and not read. That holds for the variables that name files:
// NPM_CONFIG_USERCONFIG, NPM_CONFIG_GLOBALCONFIG, PIP_CONFIG_FILE, UV_CONFIG_FILE,
// GOENV, CARGO_HOME, APT_CONFIG, M2_HOME, MAVEN_HOME, XDG_CONFIG_HOME. A file is
// regular and has at most 1 MiB; any other, and one of wrong syntax, becomes a note.
// Variables inside values (${X}, $X) are not expanded.
//
// Variables that hold addresses count, as they do for the client. Those that npm
// itself sets while it runs a project's script (npm_config_*, beside
// npm_lifecycle_event) don't, because they may be that project's.
//
// Gradle's init scripts are programs, which only Gradle can read: they are noted.
//
// # What goes into the guest
//
//	key                                          guest
//	apt: Acquire::http(s)::Proxy, Proxy::HOST    /etc/apt/apt.conf.d/80banger
//	apt: Acquire::Check-Valid-Until, Check-Date  80banger-archives, only with URIs: a mirror of old snapshots needs them
//	apt: URIs                                    in the image's own sources, by suite, if the distribution is the same
//	apt: Proxy-Auto-Detect, Verify-Peer, auth    no: a command, a weaker check, a secret
//	npm: registry, @scope:registry, proxies      /etc/npmrc, and beside the other builds of npm
//	npm: strict-ssl, cafile, _auth…, cert, key   no: certificates go by HostCAs, secrets never
//	yarn, pnpm: registries, proxies              root's own files, if absent
//	yarn: unsafeHttpWhitelist                    the hosts of its registries by plain HTTP, which it refuses else
//	pip: index-url, extra-index-url, find-links, /etc/pip.conf; of find-links what is a URL
//	pip: proxy
//	pip: trusted-host, uv: allow-insecure-host   only hosts of an index that goes in as well: pip refuses plain HTTP without
//	pip: cert, client-cert, no-verify            no
//	uv: index, index-url, extra-index-url, …     /etc/uv/uv.toml
//	GOPROXY, GOSUMDB, GOPRIVATE, GONOPROXY,      /etc/environment
//	GONOSUMDB
//	GOINSECURE, GOFLAGS, GOAUTH, GOVCS,          no: weaker checks, the host's own builds, secrets
//	GOTOOLCHAIN
//	cargo: source.*, registries.*.index,         /root/.cargo/config.toml, if absent
//	cargo: registry.default, http.proxy
//	cargo: token, credential-provider, net.*     no
//	Maven: mirrors, active repositories, proxies /root/.m2/settings.xml, if absent
//	Maven: servers, passwords, interpolated text no
//	what a client comes with (go.env, npm's)     no: the guest's client comes with its own
//
// User info, query and fragment of a URL never go into a guest, nor a URL whose path
// holds what looks like a token. Certificates of the host's administrator go in by
// HostCAs.
package mirrors
