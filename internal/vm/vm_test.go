package vm

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var states = []State{Created, Starting, Running, Paused, Stopping, Stopped, Error, Deleting}
var events = []Event{Start, Ready, Fail, Stop, Ended, Pause, Resume, Kill, Delete}

func TestCheckName(t *testing.T) {
	good := []string{"a", "0", "a-b", "a--b", strings.Repeat("x", 63), "9lives"}
	bad := []string{"", "-a", "a-", "-", "A", "a_b", "a.b", "a/b", "a\nb", "a b", "é", strings.Repeat("x", 64), "a\x00b"}
	for _, s := range good {
		if err := CheckName(s); err != nil {
			t.Errorf("CheckName(%q) = %v, want nil", s, err)
		}
	}
	for _, s := range bad {
		if err := CheckName(s); err == nil {
			t.Errorf("CheckName(%q) = nil, want an error", s)
		}
	}
}

func TestParseMiB(t *testing.T) {
	good := map[string]int64{
		"512": 512, "512M": 512, "512m": 512, "512MiB": 512, "512MB": 512, "4G": 4096, "4GiB": 4096, "4gib": 4096,
		"1T": 1 << 20, "007": 7,
	}
	for s, want := range good {
		if got, err := ParseMiB(s); err != nil || got != want {
			t.Errorf("ParseMiB(%q) = %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "0", "0G", "-1", "+1", "1k", "1K", "1.5G", "G", "M4", "4 G", "4GG", "1e3", "0x10", "9223372036854775807T", "99999999999999999999", "４G"} {
		if got, err := ParseMiB(s); err == nil {
			t.Errorf("ParseMiB(%q) = %d, want an error", s, got)
		}
	}
}

func FuzzParseMiB(f *testing.F) {
	for _, s := range []string{"512M", "4GiB", "1T", "", "0", "-1", "9999999999999999999G"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseMiB(s)
		if err != nil {
			return
		}
		if n <= 0 {
			t.Fatalf("ParseMiB(%q) = %d, want more than 0", s, n)
		}
		if back, err := ParseMiB(FormatMiB(n)); err != nil || back != n {
			t.Fatalf("ParseMiB(FormatMiB(%d)) = %d, %v", n, back, err)
		}
	})
}

func FuzzCheckName(f *testing.F) {
	f.Add("a-b")
	f.Add("-")
	f.Fuzz(func(t *testing.T, s string) {
		if CheckName(s) == nil && (len(s) == 0 || len(s) > 63 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != "") {
			t.Fatalf("CheckName(%q) = nil", s)
		}
	})
}

func TestSpecCheck(t *testing.T) {
	good := Defaults(8, 16<<10)
	good.Name = "a"
	if err := good.Check(); err != nil {
		t.Fatalf("Check of the defaults: %v", err)
	}
	for _, tz := range []string{ZoneHost, ZoneUTC, "Europe/Berlin", "America/Port-au-Prince", "Etc/GMT+1"} {
		s := good
		if s.TZ = tz; s.Check() != nil {
			t.Errorf("Check with the time zone %q: %v", tz, s.Check())
		}
	}
	for field, spoil := range map[string]func(*Spec){
		"name":      func(s *Spec) { s.Name = "A" },
		"vcpu":      func(s *Spec) { s.VCPUs = 0 },
		"memory":    func(s *Spec) { s.MemMiB = -1 },
		"disk-size": func(s *Spec) { s.DiskMiB = 1 << 40 },
		"image":     func(s *Spec) { s.Image = "" },
		"vmm":       func(s *Spec) { s.Driver = "" },
		"ttl":       func(s *Spec) { s.TTLSeconds = -1 },
		"tz":        func(s *Spec) { s.TZ = "Europe/../../etc" },
	} {
		s := good
		spoil(&s)
		var fe *FieldError
		if err := s.Check(); !errors.As(err, &fe) || fe.Field != field || !strings.HasPrefix(err.Error(), "--"+field+": ") {
			t.Errorf("Check with a bad %s = %v, want a FieldError of it", field, err)
		}
	}
}

func TestDefaults(t *testing.T) {
	for _, c := range []struct {
		cpus   int
		mem    int64
		vcpus  int
		memMiB int64
	}{{1, 1024, 1, 512}, {2, 24 << 10, 1, 3072}, {16, 64 << 10, 4, 8192}, {64, 1 << 20, 4, 8192}} {
		if s := Defaults(c.cpus, c.mem); s.VCPUs != c.vcpus || s.MemMiB != c.memMiB {
			t.Errorf("Defaults(%d, %d) = %d vCPUs, %d MiB; want %d, %d", c.cpus, c.mem, s.VCPUs, s.MemMiB, c.vcpus, c.memMiB)
		}
	}
}

// Whatever happens, a VM that has lost its processes leaves the live states,
// and one that is told to stop or to go never comes back by itself.
func TestTable(t *testing.T) {
	for _, s := range states {
		next, err := Next(s, Ended)
		if err != nil || next.Live() && next != Deleting {
			t.Errorf("Next(%s, ended) = %s, %v; want a state without processes", s, next, err)
		}
		if next, err := Next(s, Delete); err != nil || next != Deleting {
			t.Errorf("Next(%s, delete) = %s, %v; want deleting", s, next, err)
		}
		switch {
		case s == Deleting:
			for _, e := range events {
				if next, err := Next(s, e); err == nil && next != Deleting && e != Kill {
					t.Errorf("Next(deleting, %s) = %s: only kill takes a deletion back", e, next)
				}
			}
		case s.Live():
			if _, err := Next(s, Start); err == nil && s != Starting {
				t.Errorf("Next(%s, start) is allowed", s)
			}
			if _, err := Next(s, Stop); err != nil {
				t.Errorf("Next(%s, stop) = %v", s, err)
			}
		default:
			if next, err := Next(s, Start); err != nil || next != Starting {
				t.Errorf("Next(%s, start) = %s, %v; want starting", s, next, err)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := Created
		told := false
		for _, e := range rapid.SliceOf(rapid.SampledFrom(events)).Draw(t, "events") {
			next, err := Next(s, e)
			if err != nil {
				if next != s {
					t.Fatalf("a refused event moved %s to %s", s, next)
				}
				continue
			}
			switch {
			case e == Start:
				told = false
			case e == Stop, e == Delete, e == Kill:
				told = true
			}
			if told && next == Running {
				t.Fatalf("%s: %s led back to running after a stop", s, e)
			}
			s = next
		}
	})
}

func TestIDs(t *testing.T) {
	a, b := NewID(), NewID()
	if a == b || CheckID(string(a)) != nil {
		t.Errorf("NewID gave %q and %q", a, b)
	}
	for _, s := range []string{"", "0123456789ABCDEF", "0123456789abcde", "0123456789abcdef0", "../../etc/passwd"} {
		if CheckID(s) == nil {
			t.Errorf("CheckID(%q) = nil, want an error", s)
		}
	}
}
