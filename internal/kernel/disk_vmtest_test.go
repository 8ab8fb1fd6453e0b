//go:build vmtest

package kernel

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestModulesDisk: the modules' disk that the program has made for the other tests is
// whole, and nothing in it tells when or by whom it was made.
func TestModulesDisk(t *testing.T) {
	path := os.Getenv("BANGER_TEST_MODULES")
	if path == "" {
		t.Skip("BANGER_TEST_MODULES names no disk: make test sets it")
	}
	out, err := exec.Command("/usr/sbin/e2fsck", "-fn", path).CombinedOutput()
	if err != nil {
		t.Fatalf("e2fsck -fn: %v\n%s", err, out)
	}
	m := regexp.MustCompile(`(\d+)/\d+ files`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("e2fsck -fn says\n%s", out)
	}
	used, _ := strconv.Atoi(string(m[1])) // the reserved ones too
	if used < 1000 {
		t.Errorf("it has %d inodes in use", used)
	}
	debugfs := func(script string) string {
		t.Helper()
		cmd := exec.Command("/usr/sbin/debugfs", "-f", "-", path)
		cmd.Stdin = strings.NewReader(script)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("debugfs: %v\n%s", err, out)
		}
		return string(out)
	}
	var script strings.Builder
	fmt.Fprintln(&script, "stat <2>")
	for n := 11; n <= used; n++ {
		fmt.Fprintf(&script, "stat <%d>\n", n)
	}
	made := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^ ?(User: +\d+ +Group: +\d+|.?[acm]time: \S+|crtime: \S+)`).FindAllString(debugfs(script.String()), -1) {
		made[strings.Join(strings.Fields(m), " ")]++
	}
	n := used - 9 // of the root, lost+found and all files
	for _, want := range []string{"User: 0 Group: 0", "atime: 0x6483bd00:00000000", "ctime: 0x6483bd00:00000000", "mtime: 0x6483bd00:00000000", "crtime: 0x6483bd00:00000000"} {
		if made[want] != n {
			t.Errorf("%d inodes of %d have %q; there are %v", made[want], n, want, made)
		}
	}
	top := debugfs("ls -p /")
	for _, name := range []string{"kernel", "modules.dep", "modules.dep.bin", "modules.devname"} {
		if !strings.Contains(top, "/"+name+"/") {
			t.Errorf("it lacks %s:\n%s", name, top)
		}
	}
	if strings.Contains(top, "/build/") || strings.Contains(top, "/source/") {
		t.Errorf("it has links to headers:\n%s", top)
	}
}
