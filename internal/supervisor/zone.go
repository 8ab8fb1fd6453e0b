package supervisor

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"banger/internal/channel/control"
	"banger/internal/vm"
)

// maxZone bounds the description of a time zone, in bytes: the largest has 4 KiB.
const maxZone = 16 << 10

// zoneOf is the time zone that a guest is given for tz; nil leaves it as it is.
func zoneOf(tz string) *control.Zone {
	switch tz {
	case vm.ZoneHost:
		return hostZone("/etc")
	case vm.ZoneUTC:
		return &control.Zone{Name: "Etc/UTC", Data: []byte(utc)}
	case "", vm.ZoneNone:
		return nil
	}
	return &control.Zone{Name: tz, Data: readZone(filepath.Join(zones, tz))} // without a description: the image may have one
}

// zones is where the host describes time zones.
const zones = "/usr/share/zoneinfo"

// CheckZone refuses a time zone that a host which describes some does not know. The error
// is a *vm.FieldError.
func CheckZone(tz string) error {
	z := zoneOf(tz)
	if z == nil || len(z.Data) > 0 {
		return nil
	}
	if _, err := os.Stat(zones); err != nil {
		return nil
	}
	return &vm.FieldError{Field: "tz", Err: fmt.Errorf("%s has no time zone %q", zones, tz)}
}

// readZone reads the description of a time zone; nil if there is none.
func readZone(file string) []byte {
	if fi, err := os.Stat(file); err != nil || !fi.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxZone+1))
	if err != nil || len(data) > maxZone || !strings.HasPrefix(string(data), "TZif") {
		return nil
	}
	return data
}

// utc describes UTC (RFC 9636, version 1): no transition, one type, "UTC".
const utc = "TZif" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
	"\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x01" + "\x00\x00\x00\x04" +
	"\x00\x00\x00\x00\x00\x00" + "UTC\x00"

// hostZone reads the host's time zone (localtime(5)). Where there is none it is UTC.
func hostZone(etc string) *control.Zone {
	file := filepath.Join(etc, "localtime")
	data := readZone(file)
	if data == nil {
		return zoneOf(vm.ZoneUTC)
	}
	z := &control.Zone{Data: data}
	if to, err := os.Readlink(file); err == nil {
		_, z.Name, _ = strings.Cut(to, "zoneinfo/")
	} else if text, err := os.ReadFile(filepath.Join(etc, "timezone")); err == nil { // a copy: Debian has its name here
		z.Name = strings.TrimSpace(string(text))
	}
	return z
}
