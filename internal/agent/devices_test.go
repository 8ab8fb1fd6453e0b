package agent

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestReadNodes(t *testing.T) {
	got, err := readNodes(strings.NewReader("# Device nodes to trigger on-demand module loading.\n" +
		"fuse fuse c10:229\nloop loop-control c10:237\ntun net/tun c10:200\nuhid uhid c10:239\nx disk b7:0\n"))
	want := []node{
		{"fuse", unix.S_IFCHR, unix.Mkdev(10, 229), 0o666, "root"},
		{"loop-control", unix.S_IFCHR, unix.Mkdev(10, 237), 0o660, "disk"},
		{"net/tun", unix.S_IFCHR, unix.Mkdev(10, 200), 0o666, "root"},
		{"uhid", unix.S_IFCHR, unix.Mkdev(10, 239), 0o600, "root"},
		{"disk", unix.S_IFBLK, unix.Mkdev(7, 0), 0o600, "root"},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(node{})); d != "" || err != nil {
		t.Errorf("readNodes: %v (-want +got):\n%s", err, d)
	}
	for _, line := range []string{"x ../../etc/passwd c1:3", "x /dev/x c1:3", "x . c1:3", "x y c1", "x y c:1", "x y d1:3", "x y c-1:3"} {
		if got, err := readNodes(strings.NewReader(line)); err == nil {
			t.Errorf("readNodes(%q) = %+v, want an error", line, got)
		}
	}
}

func TestGroupID(t *testing.T) {
	text := "root:x:0:\ndisk:x:6:a,b\nbad\nodd:x:-1:\n"
	for name, want := range map[string]int{"root": 0, "disk": 6, "none": 0, "bad": 0, "odd": 0} {
		if got := groupID(text, name); got != want {
			t.Errorf("groupID(%q) = %d, want %d", name, got, want)
		}
	}
}
