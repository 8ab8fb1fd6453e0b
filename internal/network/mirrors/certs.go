package mirrors

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/agent/hostconfig"
)

// anchors are the directories in which an administrator puts certificates of
// authorities, and the suffix that their tool looks for: update-ca-certificates(8),
// update-ca-trust(8), and the same of SUSE and Arch.
var anchors = []struct{ dir, suffix string }{
	{"/usr/local/share/ca-certificates", ".crt"},
	{"/etc/pki/ca-trust/source/anchors", ""},
	{"/etc/pki/trust/anchors", ""},
	{"/etc/ca-certificates/trust-source/anchors", ""},
}

const (
	maxCertificates = 100
	maxDirs         = 4 // directories in one another
)

// HostCAs returns the certificates that the administrator of h added, each once, named
// by its digest. Of a file only certificates are taken, never a key. notes are lines
// for the user about files that were not read.
func HostCAs(h Host) (certs []hostconfig.Certificate, notes []string) {
	f := &Found{}
	r, err := newReader(Host{Root: h.Root}, f)
	if err != nil {
		return nil, []string{fmt.Sprintf("no certificate is read: %v", err)}
	}
	defer unix.Close(r.root)
	seen := map[string]bool{}
	for _, a := range anchors {
		for _, der := range r.certificates(a.dir, a.suffix, maxDirs) {
			sum := sha256.Sum256(der)
			id := hex.EncodeToString(sum[:8])
			if seen[id] {
				continue
			}
			if len(certs) == maxCertificates {
				r.note("only the first %d certificates go into the guest", maxCertificates)
				break
			}
			seen[id] = true
			certs = append(certs, hostconfig.Certificate{Name: id,
				PEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))})
		}
	}
	return certs, f.Notes
}

// certificates are those of the files in dir, and below it as deep as depth.
func (r *reader) certificates(dir, suffix string, depth int) (out [][]byte) {
	for _, n := range r.list(dir) {
		p := path.Join(dir, n)
		if fd, _, err := r.open(p, unix.O_DIRECTORY|unix.O_NOFOLLOW); err == nil {
			unix.Close(fd)
			if depth > 1 {
				out = append(out, r.certificates(p, suffix, depth-1)...)
			}
			continue
		}
		if !strings.HasSuffix(n, suffix) || len(out) > maxCertificates {
			continue
		}
		text, ok := r.read(p)
		if !ok {
			continue
		}
		certs := parseCertificates([]byte(text))
		if len(certs) == 0 {
			r.note("%q is left out: it has no certificate", p)
		}
		out = append(out, certs...)
	}
	return out
}

// parseCertificates are the certificates of a file, of PEM or one of DER.
func parseCertificates(text []byte) (out [][]byte) {
	if _, err := x509.ParseCertificate(text); err == nil {
		return [][]byte{text}
	}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return out
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err == nil {
			out = append(out, block.Bytes)
		}
	}
}
