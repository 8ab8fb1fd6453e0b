package network

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
)

const (
	// deniedFile has what the guest was denied, a line each, for the programs in it.
	deniedFile = "/run/banger/denied"
	maxDenied  = 64 << 10 // bytes; then the older half goes
	// sameDenied is for how long the same again is no line of its own: a program looks a name up
	// for both kinds of addresses.
	sameDenied = time.Second
)

// denials are the guest's own: a file of them.
type denials struct {
	path string

	mu   sync.Mutex
	last string
	at   time.Time
}

// denied writes down what the host denies, and tells it which process asked.
func (n *Network) denied(f *flow.Flow, r netflow.Request) {
	process := n.owners.find(r)
	if err := n.denials.add(r.Text, process); err != nil {
		n.say("network: %v", err)
	}
	f.Refuse(netflow.Denied, process)
}

// add adds a line.
func (d *denials) add(text, process string) error {
	if process != "" {
		text += ", asked by " + process
	}
	text = oneLine(text)
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if text == d.last && now.Sub(d.at) < sameDenied {
		return nil
	}
	d.last, d.at = text, now
	line := now.UTC().Format(time.RFC3339) + " denied " + text + "\n"
	if s, err := os.Stat(d.path); err == nil && s.Size() > maxDenied {
		return d.halve(line)
	}
	file, err := os.OpenFile(d.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = file.WriteString(line)
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	return err
}

// halve drops the older half, and adds a line.
func (d *denials) halve(line string) error {
	text, err := os.ReadFile(d.path)
	if err != nil {
		return err
	}
	text = text[len(text)/2:]
	text = text[bytes.IndexByte(text, '\n')+1:]
	return os.WriteFile(d.path, append(text, line...), 0o644)
}

// oneLine replaces what would end a line, or is not to be seen: a process chooses its name, and
// what it looks up.
func oneLine(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, name)
}
