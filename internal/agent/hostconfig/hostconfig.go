// Package hostconfig writes into a guest what the host's package clients are
// configured with, and the certificates that the host's administrator added. It is
// the guest's half of internal/network/mirrors, and imports nothing of ours.
//
// What a user changes in the guest stays: a file of ours is written only where none
// was, and again only while it is as it was written last (stateFile keeps the
// digests). In files of the image's own (/etc/environment, the bundle of certificates,
// apt's sources) only marked lines are ours. What the host's configuration no longer
// has is taken back at the next Apply.
package hostconfig

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Config is what goes into a guest. It holds no secret.
type Config struct {
	Files        []File        `json:"files,omitempty"`
	Env          []Variable    `json:"env,omitempty"`
	Certificates []Certificate `json:"certificates,omitempty"`
	Apt          *Apt          `json:"apt,omitempty"` // nil leaves apt's sources as the image has them
}

// File is a file that the guest gets where it has none.
type File struct {
	Path    string `json:"path"` // absolute
	Mode    uint32 `json:"mode"` // of which the lowest nine bits count
	Content string `json:"content"`
}

// Variable is a variable of every login, by /etc/environment.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Certificate is one certificate of an authority, as PEM.
type Certificate struct {
	Name string `json:"name"` // of the file, without a suffix
	PEM  string `json:"pem"`
}

// Apt is where the host's distribution has its archives.
type Apt struct {
	ID       string              `json:"id"`       // os-release's of the host
	Codename string              `json:"codename"` // the same
	URIs     map[string][]string `json:"uris"`     // by suite
	Conf     string              `json:"conf"`     // of apt.conf, what the archives need; "" is nothing
}

const (
	stateFile = "/var/lib/banger/hostconfig.json"
	caFile    = "/var/lib/banger/ca.pem"
	javaFile  = "/var/lib/banger/cacerts.jks"
	aptFile   = "/etc/apt/apt.conf.d/80banger-archives"

	maxFiles = 200     // of a Config, certificates included
	maxText  = 1 << 20 // of a file of a Config, in bytes
)

var (
	variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	name     = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
)

// maxName bounds names of files, in bytes. A bound in the expressions would take each program
// of the agent's milliseconds at its start.
const maxName = 100

// state is what Apply keeps in the guest from boot to boot.
type state struct {
	// Files are the digests that a file of ours may have; "" is no file. Two while it is
	// being written.
	Files map[string][]string `json:"files"`
	// Links are links of ours and where they lead.
	Links map[string]string `json:"links,omitempty"`
	// Made are files of the image's kind that were not there.
	Made []string `json:"made,omitempty"`
	// Java is the key store's, which is made of the bundle.
	Java javaState `json:"java,omitzero"`
	// Seen is the guest as it was after a boot; nil if it is not known.
	Seen *seen `json:"seen,omitempty"`
}

// applier is one call of Apply or Finish.
type applier struct {
	tree  *tree
	state state
	saved string   // the state as it is in the guest
	kept  []string // files of ours that stay as they are
	notes []string
}

// apply makes the guest as c says. The tree is closed by the caller.
func (a *applier) apply(c Config) error {
	if c.Apt != nil && !a.sameRelease(c.Apt) {
		c.Apt = nil
	}
	files, links, env := a.certificates(c.Certificates)
	files = append(files, c.Files...)
	if c.Apt != nil && c.Apt.Conf != "" {
		files = append(files, File{Path: aptFile, Mode: 0o644, Content: c.Apt.Conf})
	}
	if err := a.files(files); err != nil {
		return err
	}
	a.links(links)
	a.sources(c.Apt)
	a.environment(append(slices.Clone(c.Env), env...))
	return a.save()
}

// check refuses what no host of ours sends.
func check(c Config) error {
	if len(c.Files)+len(c.Certificates)+len(c.Env) > maxFiles {
		return fmt.Errorf("it has more than %d files and variables", maxFiles)
	}
	for _, f := range c.Files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" || strings.ContainsRune(f.Path, 0) {
			return fmt.Errorf("%q is no path of a file", f.Path)
		}
		if len(f.Content) > maxText {
			return fmt.Errorf("%q is larger than %d bytes", f.Path, maxText)
		}
	}
	if c.Apt != nil && len(c.Apt.Conf) > maxText {
		return fmt.Errorf("apt's configuration is larger than %d bytes", maxText)
	}
	for _, v := range c.Env {
		if !variable.MatchString(v.Name) || strings.ContainsAny(v.Value, "\n\r\x00#'\"\\") {
			return fmt.Errorf("variable %q can't be written to /etc/environment", v.Name)
		}
	}
	for _, x := range c.Certificates {
		if len(x.Name) > maxName || !name.MatchString(x.Name) {
			return fmt.Errorf("%q is no name of a certificate", x.Name)
		}
		block, rest := pem.Decode([]byte(x.PEM))
		if block == nil || block.Type != "CERTIFICATE" || len(strings.TrimSpace(string(rest))) > 0 || !isSequence(block.Bytes) {
			return fmt.Errorf("certificate %q is no PEM of one certificate", x.Name)
		}
	}
	return nil
}

// isSequence reports whether der is one whole sequence (X.690, 8.1.3 and 8.9), as a certificate is.
// The host has read what is in it; here that would take a boot some milliseconds.
func isSequence(der []byte) bool {
	const short, long = 0x80, 0x84
	if len(der) < 2 || der[0] != 0x30 {
		return false
	}
	size, body := int(der[1]), der[2:]
	if der[1] >= short {
		n := size - short
		if der[1] > long || len(body) < n {
			return false
		}
		size = 0
		for _, b := range body[:n] {
			size = size<<8 | int(b)
		}
		body = body[n:]
	}
	return size == len(body)
}

func (a *applier) note(format string, args ...any) {
	a.notes = append(a.notes, fmt.Sprintf(format, args...))
}

// load reads the state. A damaged one is that of a guest in which nothing is ours: all
// files that are there stay.
func (a *applier) load() error {
	text, _, err := a.tree.read(stateFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	a.saved = text
	if err == nil && json.Unmarshal([]byte(text), &a.state) != nil {
		a.state = state{}
		a.note("%s is damaged: files that are there stay as they are", stateFile)
	}
	if a.state.Files == nil {
		a.state.Files = map[string][]string{}
	}
	if a.state.Links == nil {
		a.state.Links = map[string]string{}
	}
	return nil
}

func (a *applier) save() error {
	text, err := json.Marshal(a.state)
	if err != nil || string(text) == a.saved {
		return err
	}
	if a.saved == "" && len(a.state.Files)+len(a.state.Links)+len(a.state.Made) == 0 {
		return nil
	}
	if err := a.tree.replace(stateFile, string(text), 0o600, nil); err != nil {
		return err
	}
	a.saved = string(text)
	return nil
}

// files writes the files of ours and removes those that are no longer wanted. The
// state is saved before the first change, with the old digests and the new ones, so that a cut
// between two steps takes no file for the user's.
func (a *applier) files(want []File) error {
	var write []File
	var old, remove []string
	wanted := map[string]bool{}
	for _, p := range a.kept {
		wanted[p] = true
	}
	for _, f := range want {
		wanted[f.Path] = true
		if was, ok := a.mayWrite(f); ok {
			write, old = append(write, f), append(old, was)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(a.state.Files)) {
		if wanted[p] {
			continue
		}
		text, _, err := a.tree.read(p)
		if err == nil && slices.Contains(a.state.Files[p], digest(text)) {
			remove = append(remove, p)
		} else {
			delete(a.state.Files, p)
		}
	}
	if len(write)+len(remove) == 0 {
		return nil
	}
	if err := a.write(write, old); err != nil {
		return err
	}
	for _, p := range remove {
		if err := a.tree.remove(p); err != nil {
			a.note("%q is not removed: %v", p, err)
			continue
		}
		delete(a.state.Files, p)
	}
	return nil
}

// write writes files of ours in the place of others, whose digests are old, and saves the state
// before.
func (a *applier) write(files []File, old []string) error {
	digests := make([]string, len(files))
	for i, f := range files {
		digests[i] = digest(f.Content)
		a.state.Files[f.Path] = []string{old[i], digests[i]}
	}
	if err := a.save(); err != nil {
		return err
	}
	for i, f := range files {
		if err := a.tree.replace(f.Path, f.Content, f.Mode&0o777, nil); err != nil {
			a.note("%q is not written: %v", f.Path, err)
			continue
		}
		a.state.Files[f.Path] = []string{digests[i]}
	}
	return nil
}

// mayWrite reports whether a file is to be written, and the digest of what is there.
func (a *applier) mayWrite(f File) (old string, ok bool) {
	text, _, err := a.tree.read(f.Path)
	there := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.note("%q stays as it is: %v", f.Path, err)
		return "", false
	}
	if there {
		old = digest(text)
	}
	digests, ours := a.state.Files[f.Path]
	switch {
	case there && text == f.Content:
		if ours {
			a.state.Files[f.Path] = []string{old}
		}
		return "", false
	case ours && !slices.Contains(digests, old):
		a.note("%q stays as it is: it was changed in the guest", f.Path)
		return "", false
	case !ours && there:
		a.note("%q stays as it is: it is not banger's", f.Path)
		return "", false
	}
	return old, true
}

// digest is a text's; "" stands for no file, and no text has it.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// links makes the links of ours where nothing is, and removes those no longer wanted.
func (a *applier) links(want map[string]string) {
	for _, p := range slices.Sorted(maps.Keys(a.state.Links)) {
		if want[p] == a.state.Links[p] {
			continue
		}
		if a.tree.readlink(p) == a.state.Links[p] {
			if err := a.tree.remove(p); err != nil {
				a.note("%q is not removed: %v", p, err)
				continue
			}
		}
		delete(a.state.Links, p)
	}
	for _, p := range slices.Sorted(maps.Keys(want)) {
		if a.state.Links[p] != "" {
			continue // also if the user removed it
		}
		if err := a.tree.symlink(want[p], p); err != nil && a.tree.readlink(p) != want[p] {
			a.note("%q is not made: %v", p, err)
			continue
		}
		a.state.Links[p] = want[p]
	}
}
