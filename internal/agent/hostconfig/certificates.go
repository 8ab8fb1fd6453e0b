package hostconfig

import (
	"encoding/pem"
	"slices"
	"strings"
)

// bundles are the files of all certificates that an image trusts, of Debian and what
// comes from it, Alpine; Red Hat; Arch; SUSE. Other paths are links to them.
var bundles = []string{
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
	"/etc/ca-certificates/extracted/tls-ca-bundle.pem",
	"/var/lib/ca-certificates/ca-bundle.pem",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/cert.pem",
}

// anchors are the directories of which an image's own tool (update-ca-certificates,
// update-ca-trust) makes the bundle anew. The last one stands for images without any.
var anchors = []string{
	"/etc/pki/ca-trust/source/anchors",
	"/etc/ca-certificates/trust-source/anchors",
	"/etc/pki/trust/anchors",
	debianAnchors,
}

const (
	debianAnchors = "/usr/local/share/ca-certificates"
	debianCerts   = "/etc/ssl/certs"
)

// certificates adds certificates to the bundles of the image. It returns the files and
// links that are to be there as well, and the variables of programs that look elsewhere.
// The variables that replace a program's own list are set only if the image has a bundle.
func (a *applier) certificates(certs []Certificate) (files []File, links map[string]string, env []Variable) {
	b := a.extendBundles(certs)
	if len(certs) == 0 {
		a.state.Java = javaState{}
		return nil, nil, nil
	}
	dir := anchors[slices.IndexFunc(anchors, func(d string) bool { return a.tree.isDir(d) || d == debianAnchors })]
	links = map[string]string{}
	var ca strings.Builder
	for _, c := range certs {
		text := strings.TrimSpace(c.PEM) + "\n"
		ca.WriteString(text)
		file := dir + "/banger-" + c.Name + ".crt"
		files = append(files, File{Path: file, Mode: 0o644, Content: text})
		if dir == debianAnchors && a.tree.isDir(debianCerts) { // as update-ca-certificates links it; Debian's Java looks for the link
			links[debianCerts+"/banger-"+c.Name+".pem"] = file
		}
	}
	files = append(files, File{Path: caFile, Mode: 0o644, Content: ca.String()})
	env = []Variable{{"NODE_EXTRA_CA_CERTS", caFile}}
	if b.path == "" {
		return files, links, env
	}
	if store := a.javaNow(b); store != nil {
		files = append(files, *store)
	}
	for _, name := range []string{"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "CARGO_HTTP_CAINFO"} {
		env = append(env, Variable{name, b.path})
	}
	return files, links, append(env, Variable{"JAVA_TOOL_OPTIONS", "-Djavax.net.ssl.trustStore=" + javaFile})
}

// bundle is one of the image's, with the certificates that were added.
type bundle struct {
	path  string // "" without one
	parts [2]string
	stamp string // tells whether it has changed since; "" if it has been written now
}

// extendBundles puts the certificates that a bundle lacks behind it. It returns the first.
func (a *applier) extendBundles(certs []Certificate) (first bundle) {
	for _, p := range bundles {
		text, st, err := a.tree.read(p)
		if err != nil {
			continue
		}
		rest := setBlock(text, "")
		var added strings.Builder
		for _, c := range certs {
			if body := bodyOf(c.PEM); !strings.Contains(rest, body) && !strings.Contains(added.String(), body) {
				added.WriteString(strings.TrimSpace(c.PEM) + "\n")
			}
		}
		b := bundle{path: p, parts: blockParts(rest, added.String())}
		if b.is(text) {
			b.stamp = p + " " + stampOf(st)
		} else if err := a.tree.replaceParts(p, b.parts[:], 0, &st); err != nil {
			a.note("%q is not written: %v", p, err)
		}
		if first.path == "" {
			first = b
		}
	}
	return first
}

// is reports whether the bundle has that text.
func (b bundle) is(text string) bool {
	rest, ok := strings.CutPrefix(text, b.parts[0])
	return ok && rest == b.parts[1]
}

// bodyOf is what of a certificate's PEM stands between its first line and its last. A bundle that
// breaks it elsewhere gets the certificate twice, which hurts nobody.
func bodyOf(text string) string {
	_, text, _ = strings.Cut(strings.TrimSpace(text), "\n")
	return text[:max(strings.LastIndexByte(text, '\n'), 0)]
}

// derOf are the certificates of a bundle.
func derOf(text string) (out [][]byte) {
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return out
		}
		if block.Type == "CERTIFICATE" {
			out = append(out, block.Bytes)
		}
	}
}
