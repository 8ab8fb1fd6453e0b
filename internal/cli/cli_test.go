package cli

import (
	"flag"
	"io"
	"os"
	"testing"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// output is what an app under test wrote.
type output struct {
	t   *testing.T
	out *os.File
	err *os.File
}

// newApp returns an app of a host with 16 cores and 32 GiB, whose stdin is
// empty and whose output goes to files.
func newApp(t *testing.T) (*app, output) {
	t.Helper()
	open := func() *os.File {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	in, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	o := output{t, open(), open()}
	return &app{stdin: in, stdout: o.out, stderr: o.err, cpus: 16, memMiB: 32 << 10}, o
}

func (o output) read(f *os.File) string {
	o.t.Helper()
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if err != nil {
		o.t.Fatal(err)
	}
	return string(text)
}

func (o output) stdout() string { return o.read(o.out) }
func (o output) stderr() string { return o.read(o.err) }

// run runs a command line as Main does, but for the signals.
func (a *app) runLine(t *testing.T, args ...string) (status int) {
	t.Helper()
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	a.report(err)
	return exitCode(t.Context(), err)
}
