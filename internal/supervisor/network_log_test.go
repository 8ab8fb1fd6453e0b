package supervisor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"banger/internal/network/egress"
)

// logged are the events of a file of the network log.
func logged(t *testing.T, path string) (events []egress.Event) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var e egress.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%s: %q: %v", path, line, err)
		}
		events = append(events, e)
	}
	return events
}

func denied(name string) egress.Event {
	return egress.Event{Time: time.Now(), Name: name, Proto: "tcp", Reason: "denied"}
}

// counts sums up the events of each name.
func counts(events []egress.Event) map[string]int {
	n := map[string]int{}
	for _, e := range events {
		n[e.Name] += e.Count
	}
	return n
}

// Each event is in the log at once; those that are the same are counted.
func TestNetworkLogCounts(t *testing.T) {
	dir := t.TempDir()
	l := openNetworkLog(dir)
	path := filepath.Join(dir, NetworkLogFile)
	others := 0
	for _, name := range []string{"a", "a", "a", "b", "a"} {
		if l.add(denied(name)) {
			others++
		}
	}
	if others != 3 {
		t.Errorf("%d events are other than the one before, want 3", others)
	}
	if got := fmt.Sprint(counts(logged(t, path))); got != "map[a:4 b:1]" {
		t.Errorf("before the end the log has %s", got)
	}
	l.add(denied("a"))
	l.Close()
	events := logged(t, path)
	if got := fmt.Sprint(counts(events)); got != "map[a:5 b:1]" || len(events) != 5 {
		t.Errorf("the log has %s in %d lines: %+v", got, len(events), events)
	}
	if l.add(denied("c")) || len(logged(t, path)) != len(events) {
		t.Error("a log that is closed takes an event")
	}
	l.Close()
}

// A reader that asks for it sees what was counted; an event may count for several.
func TestNetworkLogFlush(t *testing.T) {
	dir := t.TempDir()
	l := openNetworkLog(dir)
	defer l.Close()
	many := denied("a")
	many.Count = 7
	for n, e := range []egress.Event{denied("a"), denied("a"), many, denied("b"), many} {
		l.add(e)
		l.Flush()
		want := []string{"map[a:1]", "map[a:2]", "map[a:9]", "map[a:9 b:1]", "map[a:16 b:1]"}[n]
		if got := fmt.Sprint(counts(logged(t, filepath.Join(dir, NetworkLogFile)))); got != want {
			t.Errorf("the log has %s, want %s", got, want)
		}
	}
}

// What is counted is written when nothing else comes, again and again.
func TestNetworkLogFlushes(t *testing.T) {
	dir := t.TempDir()
	l := openNetworkLog(dir)
	defer l.Close()
	l.add(denied("a"))
	for want := 2; want <= 3; want++ {
		l.add(denied("a"))
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			n := counts(logged(t, filepath.Join(dir, NetworkLogFile)))["a"]
			if n == want {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("after a minute the log counts %d, want %d", n, want)
			}
		}
	}
}

// The log and the one before it are bounded; nothing is lost between them. A log that is
// opened again goes on.
func TestNetworkLogTurns(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, NetworkLogFile)
	l := openNetworkLog(dir)
	long := strings.Repeat("x", 100<<10)
	for n := range 18 {
		if n == 5 {
			l.Close()
			l = openNetworkLog(dir)
		}
		e := denied(fmt.Sprint(n))
		e.Reason = long
		l.add(e)
	}
	l.Close()
	events := append(logged(t, path+".1"), logged(t, path)...)
	for n, e := range events {
		if e.Name != fmt.Sprint(n) || e.Count != 1 {
			t.Errorf("line %d is of %s, %d times", n, e.Name, e.Count)
		}
	}
	if len(events) != 18 {
		t.Errorf("both logs have %d lines, want 18", len(events))
	}
	for _, p := range []string{path, path + ".1"} {
		fi, err := os.Stat(p)
		if err != nil || fi.Size() > maxNetworkLog || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", p, fi, err)
		}
	}
	// A log that can't be written ends nothing.
	bad := openNetworkLog(filepath.Join(dir, "none"))
	bad.add(denied("a"))
	bad.Close()
}
