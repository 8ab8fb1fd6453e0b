package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"banger/internal/durable"
)

// sessionShare is the part of Limits.MaxBytes that VMs made with --rm may take,
// if the others leave it.
const sessionShare = 8

// Bound removes what is too old and what is too much. The newest entry stays,
// whatever its size and age, and so does the newest that somebody deleted by
// name: a delete can always be undone for a while. Of the others, from the first
// that does not fit on all older ones go. VMs made with --rm have an eighth of
// the room, and only what the others leave of it. Entries with work that was not
// saved stay and count for nothing.
//
// Age is counted on a clock of the trash's own that a wrong date can't move: it
// runs with the host, and for the time that the host was off it takes the
// date's word for at most a day. Bound also removes what a crash left
// half-removed. It should be called at times even if nothing is deleted.
func (t *Trash) Bound() error {
	t.mu.Lock()
	now := t.tick()
	err := t.held.write(t.dir)
	t.mu.Unlock()
	if isFull(err) { // the clock goes on in memory
		err = nil
	}
	list, lerr := t.List()
	if lerr != nil {
		return errors.Join(err, lerr)
	}
	_, rerr := t.remove(t.over(list, now))
	return errors.Join(err, rerr, t.sweep())
}

// over picks what Bound removes from list, which is newest first.
func (t *Trash) over(list []Entry, now time.Duration) []Entry {
	var out []Entry
	pick := func(session bool, room int64) (sum int64) {
		first, full := true, false
		for i, e := range list {
			if e.Session != session || e.NotSaved != "" {
				continue
			}
			old := t.limits.MaxAge > 0 && now-e.held > t.limits.MaxAge
			full = full || t.limits.MaxBytes > 0 && sum+e.UsedBytes > room
			keep := i == 0 || first && !session
			if first = false; (old || full) && !keep {
				out = append(out, e)
				continue
			}
			sum += e.UsedBytes
		}
		return sum
	}
	deleted := pick(false, t.limits.MaxBytes)
	pick(true, max(0, min(t.limits.MaxBytes/sessionShare, t.limits.MaxBytes-deleted)))
	return out
}

// Emptied is what Empty did.
type Emptied struct {
	Entries   int   // that were removed
	UsedBytes int64 // that they took
	// Kept are entries with work that was not saved, which only their own name
	// removes; newest first.
	Kept []Entry
}

// Empty removes for good the entries that refs name, as Find takes them, or
// without refs all but those with work that was not saved. If one of refs can't
// be found nothing is removed. It goes on after an error of a removal; the
// result says what was done.
func (t *Trash) Empty(refs ...string) (Emptied, error) {
	list, err := t.List()
	if err != nil {
		return Emptied{}, err
	}
	var goes, kept []Entry
	if len(refs) == 0 {
		for _, e := range list {
			if e.NotSaved != "" {
				kept = append(kept, e)
			} else {
				goes = append(goes, e)
			}
		}
	}
	seen := map[int64]bool{}
	for _, ref := range refs {
		e, err := t.findIn(list, ref)
		if err != nil {
			return Emptied{}, err
		}
		if !seen[e.Seq] {
			seen[e.Seq] = true
			goes = append(goes, e)
		}
	}
	done, err := t.remove(goes)
	done.Kept = kept
	return done, err
}

// UsedBytes is what Empty without refs would free.
func (t *Trash) UsedBytes() (int64, error) {
	list, err := t.List()
	var sum int64
	for _, e := range list {
		if e.NotSaved == "" {
			sum += e.UsedBytes
		}
	}
	return sum, err
}

// remove takes each entry out of the list before it is removed: half an entry
// is never listed.
func (t *Trash) remove(list []Entry) (done Emptied, err error) {
	for _, e := range list {
		dead, rerr := t.doom(e.Dir)
		if rerr == nil {
			rerr = Remove(t.dir, dead)
		}
		if rerr != nil {
			err = errors.Join(err, fmt.Errorf("remove VM %q from the trash: %w", e.label(), rerr))
			continue
		}
		done.Entries++
		done.UsedBytes += e.UsedBytes
	}
	return done, err
}

// heldClock is the trash's own clock: Held goes on with the host's clock since
// boot, which nobody sets and which suspend does not stop.
type heldClock struct {
	Held   time.Duration `json:"held_ns"`
	BootID string        `json:"boot_id"`
	Uptime time.Duration `json:"uptime_ns"`
	Wall   time.Time     `json:"wall"`
}

const (
	clockFile = "clock.json"
	// maxOff is the longest time that the clock believes the host to have been
	// off: the date may be wrong after a boot.
	maxOff = 24 * time.Hour
)

// readHeld reads the clock. Without a file, it begins at the newest entry: then
// nothing is old.
func readHeld(dir string, newest time.Duration) heldClock {
	var c heldClock
	if readJSON(filepath.Join(dir, clockFile), &c) != nil || c.Held < 0 {
		c = heldClock{}
	}
	c.Held = max(c.Held, newest)
	return c
}

func (c heldClock) write(dir string) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return durable.Replace(filepath.Join(dir, clockFile), append(text, '\n'))
}

// tick brings the clock up to now and returns it. mu is held, or nobody else
// has t.
func (t *Trash) tick() time.Duration {
	c := &t.held
	wall := t.now()
	boot, up := t.uptime()
	switch {
	case c.BootID == "": // it begins now
	case c.BootID == boot:
		c.Held += max(0, up-c.Uptime)
	default:
		c.Held += up + min(max(0, wall.Sub(c.Wall)-up), maxOff)
	}
	c.BootID, c.Uptime, c.Wall = boot, up, wall
	return c.Held
}
