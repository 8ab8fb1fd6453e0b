package image

import (
	"archive/tar"
	"errors"
	"io"
	"net/url"
	"path"
	"slices"
	"strings"

	"banger/internal/agent/hostconfig"
)

const (
	// maxSources bounds a file of apt's sources, in bytes.
	maxSources = 256 << 10
	// maxArchives bounds the archives that are kept of an image.
	maxArchives = 64
)

// archives are the URLs of the package archives with which the tree in a tar is
// configured, in order, each once: http and https only.
func archives(tree io.Reader) (out []string, err error) {
	in := tar.NewReader(tree)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		name := path.Clean("/" + h.Name)
		isList := name == "/etc/apt/sources.list" || path.Dir(name) == "/etc/apt/sources.list.d" && (path.Ext(name) == ".list" || hostconfig.IsDeb822(name))
		if h.Typeflag != tar.TypeReg || !isList {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(in, maxSources))
		if err != nil {
			return nil, err
		}
		for _, s := range hostconfig.ParseSources(hostconfig.IsDeb822(name), string(text)) {
			for _, uri := range s.URIs {
				if archive, ok := plain(uri); ok && !s.Disabled && !slices.Contains(out, archive) && len(out) < maxArchives {
					out = append(out, archive)
				}
			}
		}
	}
}

// plain is an archive's URL without a user's name, a path or a query.
func plain(uri string) (string, bool) {
	u, err := url.Parse(uri)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", false
	}
	return u.Scheme + "://" + strings.ToLower(u.Host), true
}
