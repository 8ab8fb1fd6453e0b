package mirrors

import (
	"errors"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	for _, tt := range []struct {
		text, scheme string
		want         address
		err          error
	}{
		{text: "https://a.example.org", want: address{url: "https://a.example.org", host: "a.example.org", port: 443}},
		{text: " http://A.Example.ORG./x/ ", want: address{url: "http://A.Example.ORG./x/", host: "a.example.org", port: 80}},
		{text: "sparse+https://a.example.org/", want: address{url: "sparse+https://a.example.org/", host: "a.example.org", port: 443}},
		{text: "http://[fd00::1]:8080/x", want: address{url: "http://[fd00::1]:8080/x", host: "fd00::1", port: 8080}},
		{text: "http://[::ffff:10.0.0.1]/", want: address{url: "http://[::ffff:10.0.0.1]/", host: "10.0.0.1", port: 80}},
		{text: "proxy:3128", scheme: "http", want: address{url: "http://proxy:3128", host: "proxy", port: 3128}},
		{text: "socks5://proxy", want: address{url: "socks5://proxy", host: "proxy", port: 1080}},
		{text: "https://u:p@a.example.org/x", want: address{url: "https://a.example.org/x", host: "a.example.org", port: 443, lost: "user info"}},
		{text: "https://a.example.org/x?token=p#q", want: address{url: "https://a.example.org/x", host: "a.example.org", port: 443, lost: "a query"}},
		{text: "https://a.example.org/@scope/x", want: address{url: "https://a.example.org/@scope/x", host: "a.example.org", port: 443}},
		{text: "https://a.example.org/aB3dE5gH7jK9mN1p/simple", want: address{url: "https://a.example.org/aB3dE5gH7jK9mN1p/simple", host: "a.example.org", port: 443, hold: "its path has what looks like a token"}},
		{text: "https://a.example.org/archive/20250520T000000Z/company-python-2024", want: address{url: "https://a.example.org/archive/20250520T000000Z/company-python-2024", host: "a.example.org", port: 443}},
		{text: "https://a.example.org/a;b", want: address{url: "https://a.example.org/a;b", host: "a.example.org", port: 443, hold: "its URL has characters that some clients give a meaning"}},
		{text: "ssh://git@a.example.org/x", want: address{url: "ssh://a.example.org/x", host: "a.example.org", port: 22, lost: "user info", hold: "it takes a key"}},

		{text: "", err: errLocal}, {text: "/srv/x", err: errLocal}, {text: "./x", err: errLocal}, {text: "~/x", err: errLocal}, {text: "FILE:///x", err: errLocal}, {text: "cdrom:[x]/", err: errLocal},
		{text: "a.example.org", err: errURL}, {text: "ftp://a.example.org", err: errURL}, {text: "https:a", err: errURL}, {text: "https://", err: errURL},
		{text: "https://a.example.org:0/", err: errURL}, {text: "https://a.example.org:65536/", err: errURL}, {text: "https://a.example.org:x/", err: errURL},
		{text: "https://a\n.example.org/", err: errURL}, {text: "https://" + strings.Repeat("a", 3000), err: errURL},
		{text: "git@a.example.org:x/y.git", err: errURL},
		// The user's name and password must not become host and port.
		{text: "https://user:12/34@a.example.org/", err: errURL}, {text: "https://user:12#34@a.example.org/", err: errURL}, {text: "https://user:12?34@a.example.org/", err: errURL},
		{text: "https://${HOST}/", err: errVariable}, {text: "https://%(host)s/", err: errVariable}, {text: "https://a.example.org/$HOME", err: errVariable}, {text: "https://{{host}}/", err: errVariable},
		{text: "http://localhost:8081/", err: errOwn}, {text: "http://x.LOCALHOST/", err: errOwn}, {text: "http://127.0.0.1:3142/", err: errOwn}, {text: "http://[::1]/", err: errOwn}, {text: "http://0.0.0.0/", err: errOwn}, {text: "http://[::]/", err: errOwn},
		{text: "http://169.254.169.254/", err: errOwn}, {text: "http://[fe80::1%25eth0]/", err: errOwn}, {text: "http://224.0.0.1/", err: errOwn}, {text: "http://[::ffff:127.0.0.1]/", err: errOwn}, {text: "http://host.docker.internal/", err: errOwn},
		{text: "http://127.1/", err: errHost}, {text: "http://2130706433/", err: errHost}, {text: "http://0x7f.1/", err: errHost}, {text: "http://0x7f000001/", err: errHost}, {text: "http://a.example.0x1/", err: errHost},
		{text: "http://*.example.org/", err: errHost}, {text: "http://a..example.org/", err: errHost}, {text: "http://münchen.example.org/", err: errHost}, {text: "http://-a.example.org/", err: errHost},
		{text: "http://" + strings.Repeat("a", 64) + ".example.org/", err: errHost}, {text: "http://" + strings.Repeat("a.", 127) + "example.org/", err: errHost},
	} {
		got, err := parseAddress(tt.text, tt.scheme)
		if !errors.Is(err, tt.err) || err == nil && got != tt.want {
			t.Errorf("parseAddress(%q, %q) = %+v, %v, want %+v, %v", tt.text, tt.scheme, got, err, tt.want, tt.err)
		}
	}
}

func TestHasToken(t *testing.T) {
	for path, want := range map[string]bool{
		"/aB3dE5gH7jK9mN1p/simple":                        true,
		"/nTr1sEKaZBsYGUrk/org/repo/":                     true, // few digits
		"/basic/qZtRbKwYpLmXcVsN/simple":                  true, // no digits
		"/x/0123456789abcdef0123456789abcdef":             true,
		"/8f14e45f-ceea-467a-9c2b-1d5bd7f1a2b3/":          true,
		"/a/8F14E45F-CEEA-467A-9C2B-1D5BD7F1A2B3":         true,
		"/glpat/ghp_16C7e42F292c6912E7710c838347Ae178B4a": true,
		"/archive/20250520T000000Z/company-python-2024":   false,
		"/artifactory/api/pypi/pypi-remote/simple":        false,
		"/repository/npm-group/":                          false,
		"/artifactoryMavenCentralRemote/":                 false,
		"/JFrogPyPIVirtual/debian12backports":             false,
		"/debian-security-20240101/dists":                 false,
		"/internationalization/configuration":             false,
		"":                                                false,
	} {
		if got := hasToken(path); got != want {
			t.Errorf("hasToken(%q) = %v", path, got)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"https://u:p@a.example.org:8443/x?y#z", "sparse+https://a/", "http://[fd00::1]/", "proxy:3128", "https://user:12/34@a/", "http://0x7f.1/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseAddress(text, "http")
		if err != nil {
			return
		}
		if host, err := parseHost(a.host); err != nil || host != a.host || a.port == 0 {
			t.Errorf("parseAddress(%q) = %+v: the host is read as %q, %v", text, a, host, err)
		}
		if a.hold == "" && (!safeURL.MatchString(a.url) || strings.Contains(strings.ReplaceAll(a.url, "/@", ""), "@")) {
			t.Errorf("parseAddress(%q) gives the guest %q", text, a.url)
		}
	})
}

// FuzzFiles reads any text by each parser, and makes a guest's files of it.
func FuzzFiles(f *testing.F) {
	for _, r := range rows {
		for _, text := range r.files {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := &reader{root: -1, env: map[string]string{}, found: &Found{Distribution: Distribution{"debian", "bookworm"}}}
		var s []Setting
		s = append(s, r.npmPairs("npm", "f", parseNPM(text))...)
		s = append(s, r.npmPairs("yarn", "f", parseYarn(text))...)
		for _, p := range parseYAML(text) {
			s = append(s, r.settings("yarn", "f", []pair{p}, yarnKeys)...)
		}
		pip, _ := parsePip(text)
		s = append(s, r.settings("pip", "f", pip, pipKeys)...)
		if uv, err := parseUV(text); err == nil {
			s = append(s, r.settings("uv", "f", uv, uvKeys)...)
		}
		s = append(s, r.goSettings("f", parseGoEnv(text))...)
		if c, err := parseCargo(text); err == nil {
			s = append(s, r.cargoSettings("f", c)...)
		}
		if m, err := parseMaven(text); err == nil {
			s = append(s, r.mavenSettings("f", m, m.Active)...)
		}
		conf, _ := parseAptConf(text)
		for _, p := range conf {
			s = append(s, r.aptOption("f", p)...)
		}
		s = append(s, r.aptSources("/etc/apt/sources.list", strings.ReplaceAll(text, "mirror+file", ""))...)
		s = append(s, r.aptSources("/etc/apt/sources.list.d/debian.sources", strings.ReplaceAll(text, "mirror+file", ""))...)
		parseCertificates([]byte(text))
		ParseDistribution(text)
		r.found.Settings = s
		c, _ := r.found.Guest(Distribution{})
		for _, v := range c.Env {
			if strings.ContainsAny(v.Value, "\n\r\x00#'\"\\$") {
				t.Errorf("variable %s is %q", v.Name, v.Value)
			}
		}
		for _, x := range c.Files {
			if strings.ContainsAny(x.Content, "\x00\r\x1b$`") {
				t.Errorf("%s is %q", x.Path, x.Content)
			}
		}
	})
}
