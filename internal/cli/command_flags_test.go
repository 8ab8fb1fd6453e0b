package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"banger/internal/channel/exec"
)

// What is typed is what the guest is asked for; a variable of the command line goes
// before a file's, and one without a value is the host's.
func TestG1CommandFlags(t *testing.T) {
	t.Setenv("OF_HOST", "host's")
	os.Unsetenv("NOT_THERE")
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("# no variable\n\n  A=1\nB= \"as it is\" \r\nOF_HOST\nNOT_THERE\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	inFile := []string{"A=1", `B= "as it is" `, "OF_HOST=host's"}
	for _, test := range []struct {
		args []string
		want exec.Request
	}{
		{nil, exec.Request{Dir: []byte("work")}},
		{[]string{"-e", "A=x=y", "-e", "OF_HOST", "-e", "NOT_THERE", "-e", "C="}, exec.Request{Dir: []byte("work"), Env: exec.Args("A=x=y", "OF_HOST=host's", "C=")}},
		{[]string{"-e", "A=2", "--env-file", file}, exec.Request{Dir: []byte("work"), Env: exec.Args(append(inFile, "A=2")...)}},
		{[]string{"-u", "alice:staff"}, exec.Request{Dir: []byte("work"), User: "alice:staff", OrHome: true}},
		{[]string{"-u", "alice", "-w", "/srv"}, exec.Request{Dir: []byte("/srv"), User: "alice"}},
	} {
		var f commandFlags
		cmd := &cobra.Command{Use: "test"}
		f.add(cmd)
		if err := cmd.ParseFlags(test.args); err != nil {
			t.Fatal(err)
		}
		if err := f.check(); err != nil {
			t.Errorf("check of %q: %v", test.args, err)
		}
		var got exec.Request
		f.fill(&got, "work")
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("request of %q (-want +got):\n%s", test.args, d)
		}
	}
}
