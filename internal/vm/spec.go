package vm

import (
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
)

// Limits of a Spec.
const (
	MaxVCPUs   = 64          // q35 and Firecracker's 32 differ; the driver refuses what it can't do
	MinMemMiB  = 128         // Debian's cloud kernel with an unpacked initramfs does not boot in less
	MaxMemMiB  = 1 << 20     // 1 TiB
	MinDiskMiB = 64          // an ext4 with a journal and something left in it
	MaxDiskMiB = 16 << 20    // 16 TiB: ext4 with 4 KiB blocks
	DefDiskMiB = 8 * 1024    // sparse
	DefImage   = "debian-12" // built from Debian's signed packages
	DefKernel  = "debian-12-cloud"

	DriverAuto    = "auto" // the first usable driver with KVM, else the first usable one
	MaxTTLSeconds = 366 * 24 * 3600

	ZoneHost = "host" // the host's time zone at each start
	ZoneUTC  = "UTC"
	ZoneNone = "none" // whatever the guest has, as without a wish
)

// Spec is what a user asks for: the machine, not its progress. Sizes are MiB.
type Spec struct {
	// Name is a DNS label; "" lets the daemon make one.
	Name    string `json:"name"`
	Image   string `json:"image"`
	Kernel  string `json:"kernel"`
	VCPUs   int    `json:"vcpus"`
	MemMiB  int64  `json:"mem_mib"`
	DiskMiB int64  `json:"disk_mib"`
	// Driver is "auto" or the name of a VMM's driver.
	Driver string `json:"driver"`
	// TTLSeconds is how long a run lasts before the VM is stopped; 0 is for good.
	TTLSeconds int64 `json:"ttl_seconds,omitempty"`
	// TZ is the guest's time zone: ZoneHost, ZoneUTC, a name as Europe/Berlin, or "" for
	// what the guest has, at first the image's.
	TZ string `json:"tz,omitempty"`
	// Network is how the guest is connected, and what it may reach.
	Network Network `json:"network,omitzero"`
}

// FieldError is a Spec's field that cannot be used. Field is the flag's name
// without its dashes, so that the CLI's message names what was typed.
type FieldError struct {
	Field string
	Err   error
}

func (e *FieldError) Error() string { return fmt.Sprintf("--%s: %v", e.Field, e.Err) }
func (e *FieldError) Unwrap() error { return e.Err }

// Check reports the first field that cannot be used, as a *FieldError. It
// looks at nothing outside the Spec: whether the image exists is for others. An
// empty name is allowed, because the daemon makes one.
func (s Spec) Check() error {
	if s.Name != "" {
		if err := CheckName(s.Name); err != nil {
			return &FieldError{"name", err}
		}
	}
	if s.VCPUs < 1 || s.VCPUs > MaxVCPUs {
		return &FieldError{"vcpu", fmt.Errorf("%d is not between 1 and %d", s.VCPUs, MaxVCPUs)}
	}
	if s.MemMiB < MinMemMiB || s.MemMiB > MaxMemMiB {
		return &FieldError{"memory", fmt.Errorf("%s is not between %s and %s", FormatMiB(s.MemMiB), FormatMiB(MinMemMiB), FormatMiB(MaxMemMiB))}
	}
	if s.DiskMiB < MinDiskMiB || s.DiskMiB > MaxDiskMiB {
		return &FieldError{"disk-size", fmt.Errorf("%s is not between %s and %s", FormatMiB(s.DiskMiB), FormatMiB(MinDiskMiB), FormatMiB(MaxDiskMiB))}
	}
	if s.Image == "" {
		return &FieldError{"image", fmt.Errorf("reference is empty")}
	}
	if s.Driver == "" {
		return &FieldError{"vmm", fmt.Errorf("driver is empty: use %s or the name of a VMM", DriverAuto)}
	}
	if s.TTLSeconds < 0 || s.TTLSeconds > MaxTTLSeconds {
		return &FieldError{"ttl", fmt.Errorf("%d s is not between 1 s and a year", s.TTLSeconds)}
	}
	if s.TZ != "" && !isZone(s.TZ) {
		return &FieldError{"tz", fmt.Errorf("%q is neither %s, %s nor a time zone's name, as Europe/Berlin", s.TZ, ZoneHost, ZoneUTC)}
	}
	return s.Network.Check()
}

// maxZoneName bounds a time zone's name, in bytes; the longest known has 32.
const maxZoneName = 64

// isZone reports whether tz can be a time zone's name: a path below the directory that
// describes them, of the letters that names have (tz database, theory.html).
func isZone(tz string) bool {
	return len(tz) <= maxZoneName && tz != "." && fs.ValidPath(tz) && !strings.ContainsFunc(tz, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_+-/", r)
	})
}

// Defaults returns the machine that a host with cpus cores and memMiB of
// memory gives when nothing is asked: a quarter of the cores, 1 to 4; an
// eighth of the memory, 512 MiB to 8 GiB; an 8 GiB sparse disk. The name is
// left empty.
func Defaults(cpus int, memMiB int64) Spec {
	return Spec{
		Image:   DefImage,
		Kernel:  DefKernel,
		VCPUs:   min(max(cpus/4, 1), 4),
		MemMiB:  min(max(memMiB/8, 512), 8192),
		DiskMiB: DefDiskMiB,
		Driver:  DriverAuto,
	}
}

// ParseMiB reads a size as a user writes it: a whole number with M, MiB, MB,
// G, GiB, GB, T, TiB or TB (all binary, case ignored); a bare number is MiB.
// The result is positive.
func ParseMiB(s string) (int64, error) {
	digits := strings.TrimRight(s, "bBiIgGmMtTkK")
	unit := strings.ToLower(s[len(digits):])
	var factor int64
	switch unit {
	case "", "m", "mb", "mib":
		factor = 1
	case "g", "gb", "gib":
		factor = 1 << 10
	case "t", "tb", "tib":
		factor = 1 << 20
	case "k", "kb", "kib":
		return 0, fmt.Errorf("size %q is below one MiB's precision: use M, G or T, as in 512M or 4G", s)
	default:
		return 0, fmt.Errorf("size %q has no known unit: use M, G or T, as in 512M or 4G", s)
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("size %q is not a whole number with M, G or T, as in 512M or 4G", s)
	}
	if n == 0 {
		return 0, fmt.Errorf("size %q is zero", s)
	}
	if n > uint64(math.MaxInt64/factor) {
		return 0, fmt.Errorf("size %q is too large", s)
	}
	return int64(n) * factor, nil
}

// FormatMiB writes a size that ParseMiB reads back, in the largest unit that
// divides it.
func FormatMiB(n int64) string {
	switch {
	case n != 0 && n%(1<<20) == 0:
		return fmt.Sprintf("%dT", n>>20)
	case n != 0 && n%(1<<10) == 0:
		return fmt.Sprintf("%dG", n>>10)
	}
	return fmt.Sprintf("%dM", n)
}

// FormatBytes is a size in the unit that a person would use.
func FormatBytes(n int64) string {
	f := float64(n)
	for _, unit := range []string{"B", "KiB", "MiB"} {
		if f < 1024 {
			return fmt.Sprintf("%.4g %s", f, unit)
		}
		f /= 1024
	}
	return fmt.Sprintf("%.4g GiB", f)
}
