package supervisor

import (
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
	}
	return nil
}

// utc describes UTC (RFC 9636, version 1): no transition, one type, "UTC".
const utc = "TZif" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
	"\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x01" + "\x00\x00\x00\x04" +
	"\x00\x00\x00\x00\x00\x00" + "UTC\x00"

// hostZone reads the host's time zone (localtime(5)). Where there is none it is UTC.
func hostZone(etc string) *control.Zone {
	file := filepath.Join(etc, "localtime")
	f, err := os.Open(file)
	if err != nil {
		return zoneOf(vm.ZoneUTC)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxZone+1))
	if err != nil || len(data) > maxZone || !strings.HasPrefix(string(data), "TZif") {
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
