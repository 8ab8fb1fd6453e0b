package hostconfig

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Boot is a guest's boot, of which the host's configuration is a part. Its methods are called
// once each, Apply first; there is one call at a time.
type Boot struct {
	// Root is the guest's root directory. No link below it is followed.
	Root string
	// Text is a Config in JSON; empty is the zero value.
	Text []byte

	looked []string // at, by Apply
	notes  []string
	done   time.Time // when Apply was; zero if it has changed nothing
}

// seen is what a boot has found or made.
type seen struct {
	Text   string            `json:"text"`   // the digest of Boot.Text
	Stamps map[string]string `json:"stamps"` // of all paths that were looked at
	Notes  []string          `json:"notes,omitempty"`
}

// Apply makes the guest as the Config says, but for what Finish does. A second call with the
// same one changes nothing, and takes a moment only. What can't be written, or is the user's own,
// is a note, and the rest is done; an error means that nothing or only a part was written, and the
// next boot's goes on. The caller sees to it that no package is being installed meanwhile: at
// boot, before the image's init.
func (b *Boot) Apply() (notes []string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write the host's configuration: %w", err)
		}
	}()
	t, err := openTree(b.Root)
	if err != nil {
		return nil, err
	}
	defer t.close()
	a := &applier{tree: t}
	if err := a.load(); err != nil {
		return nil, err
	}
	if s := a.state.Seen; s != nil && s.Text == digest(string(b.Text)) && t.unchanged(s.Stamps) {
		return s.Notes, nil
	}
	var c Config
	if len(b.Text) > 0 {
		if err := json.Unmarshal(b.Text, &c); err != nil {
			return nil, err
		}
	}
	if err := check(c); err != nil {
		return nil, err
	}
	a.state.Seen = nil
	t.looked = map[string]bool{}
	if err := a.apply(c); err != nil {
		return a.notes, err
	}
	b.looked, b.notes, b.done = slices.Sorted(maps.Keys(t.looked)), a.notes, time.Now()
	return a.notes, nil
}

// Finish makes what Apply has left for later: the key store for Java, which nobody misses at once
// in an image without a Java. It keeps what tells the next boot that there is nothing to do. In an
// agent that was begun again in the same boot it is called without Apply, and without a Text.
func (b *Boot) Finish() error {
	t, err := openTree(b.Root)
	if err != nil {
		return fmt.Errorf("finish the host's configuration: %w", err)
	}
	defer t.close()
	a := &applier{tree: t}
	err = a.load()
	if err == nil && a.state.Java.Later {
		err = a.makeStore()
	}
	if err == nil && !b.done.IsZero() {
		err = a.remember(b)
	}
	if err != nil {
		return fmt.Errorf("finish the host's configuration: %w", err)
	}
	return nil
}

// remember keeps the guest as it is, unless something that Apply looked at has changed since: what
// was made of it then may be another now.
func (a *applier) remember(b *Boot) error {
	s := &seen{Text: digest(string(b.Text)), Stamps: map[string]string{}, Notes: b.notes}
	for _, p := range b.looked {
		if p == stateFile {
			continue
		}
		stamp, changed := a.tree.stamp(p)
		if changed.After(b.done) && p != javaFile { // that one may be Finish's own
			return nil
		}
		s.Stamps[p] = stamp
	}
	if len(s.Stamps) == 0 {
		return nil
	}
	a.state.Seen = s
	return a.save()
}

// stamp is what tells that the file at p has changed, its content or what is known of it, and
// when that was; "" is that of no file.
func (t *tree) stamp(p string) (stamp string, changed time.Time) {
	if dir, ok := strings.CutSuffix(p, "/"); ok {
		return map[bool]string{true: "there"}[t.isDir(dir)], changed
	}
	fd, err := t.open(p, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return "", changed
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return "", changed
	}
	return stampOf(st), time.Unix(st.Ctim.Unix())
}

// stampOf is what a file is known again by, as long as nobody changes it.
func stampOf(st unix.Stat_t) string {
	return fmt.Sprintf("%d %d %d.%09d", st.Ino, st.Size, st.Ctim.Sec, st.Ctim.Nsec)
}

// unchanged reports whether all files are as these stamps say.
func (t *tree) unchanged(stamps map[string]string) bool {
	for p, want := range stamps {
		if got, _ := t.stamp(p); got != want {
			return false
		}
	}
	return len(stamps) > 0
}
