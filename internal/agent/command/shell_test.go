package command

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"banger/internal/channel/exec"
)

func TestShellArgs(t *testing.T) {
	const none = "/no/such/shell"
	for _, test := range []struct {
		shell, line string
		want        [][]byte // nil is an error
	}{
		{"/bin/sh", "a 'b c' | d", exec.Args("/bin/sh", "-c", "a 'b c' | d")},
		{"/bin/sh", "", exec.Args("/bin/sh", "-c", "")},
		{none, "/usr/bin/tool --flag a:b,c %d", exec.Args("/usr/bin/tool", "--flag", "a:b,c", "%d")},
		{none, "", nil},
		{none, "a b\nc", nil},
		{none, "a | b", nil},
		{none, "a $b", nil},
		{none, "a 'b'", nil},
		{none, "A=b c", nil},
		{none, "a *", nil},
		{none, "a ~", nil},
	} {
		got, err := account{shell: test.shell}.shellArgs(test.line)
		if diff := cmp.Diff(test.want, got); diff != "" || (err == nil) != (test.want != nil) {
			t.Errorf("shellArgs(%q) of %s: %v (-want +got):\n%s", test.line, test.shell, err, diff)
		}
	}
	if _, err := ShellArgs("no such user", "true"); err == nil {
		t.Error("ShellArgs of a user that there is not = nil, want an error")
	}
}
