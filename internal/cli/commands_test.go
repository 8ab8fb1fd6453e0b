package cli

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"banger/internal/api"
	"banger/internal/channel/exec"
)

type answers = map[string]func(http.ResponseWriter, *http.Request)

// Several references are worked on at once and reported in the order given; a
// bad one stops no other.
func TestSeveral(t *testing.T) {
	second := make(chan struct{})
	newDaemon(t, answers{
		"POST /v1/vms/a/stop": func(w http.ResponseWriter, r *http.Request) {
			<-second // answered after the other, so both are asked at once
			result("a")(w, r)
		},
		"POST /v1/vms/b/stop": func(w http.ResponseWriter, r *http.Request) {
			result("b")(w, r)
			close(second)
		},
	})
	a, o := newApp(t)
	if status := a.runLine(t, "vm", "stop", "a", "no\x1bsuch", "b"); status != exitFailed {
		t.Errorf("exit status %d, want %d", status, exitFailed)
	}
	if got, want := o.stdout(), "a\nb\n"; got != want {
		t.Errorf("stdout has %q, want %q", got, want)
	}
	if got, want := o.stderr(), "banger: no\\x1bsuch: no such VM\n  banger vm list\n"; got != want {
		t.Errorf("stderr has %q, want %q", got, want)
	}
}

func TestOne(t *testing.T) {
	newDaemon(t, answers{})
	a, o := newApp(t)
	if status := a.runLine(t, "vm", "show", "nosuch"); status != exitFailed {
		t.Errorf("exit status %d, want %d", status, exitFailed)
	}
	if got, want := o.stderr(), "banger: no such VM\n  banger vm list\n"; got != want {
		t.Errorf("stderr has %q, want %q", got, want)
	}
}

const (
	created = "POST /v1/vms"
	entered = "GET /v1/vms/0123456789abcdef/session"
	deleted = "DELETE /v1/vms/0123456789abcdef?force=true"
	denials = "GET /v1/vms/dev/network/log"
)

func TestRun(t *testing.T) {
	hello := func(w *exec.Writer) {
		w.Write(exec.TypeStdout, []byte("out"))
		w.Write(exec.TypeStderr, []byte("err"))
	}
	exited := func(code int) exec.Status { return exec.Status{Kind: exec.Exited, Code: code} }
	for _, test := range []struct {
		name   string
		line   string
		guest  exec.Status
		delete func(http.ResponseWriter, *http.Request)
		status int
		asked  []string
		stderr string
	}{
		{"it stays", "vm run -- x", exited(0), nil, 0, []string{created, entered, denials},
			"errbanger: dev keeps running: banger vm exec dev -- COMMAND, banger vm stop dev, banger vm delete -f dev\n"},
		{"it stays, quietly", "vm run -q -- x", exited(42), nil, 42, []string{created, entered}, "err"},
		{"it goes", "run --rm -- x", exited(42), deletedVM("dev"), 42, []string{created, entered, denials, deleted}, "err"},
		{"it is gone", "run --rm -- x", exited(0), nil, 0, []string{created, entered, denials, deleted}, "err"},
		{"it can't go", "run -q --rm -- x", exited(3), lines(`{"fault":{"code":"internal","message":"no"}}`), 3, []string{created, entered, deleted},
			"errbanger: delete VM 0123456789abcdef: no\n"},
		{"not found", "run --rm -- x", exec.Status{Kind: exec.NotFound, Message: "x: \x1bnot found"}, deletedVM("dev"), 127, []string{created, entered, denials, deleted},
			"errbanger: x: \\x1bnot found\n"},
		{"json", "run --json -- x", exited(0), nil, 0, []string{created, entered, denials},
			`err{"notice":"dev keeps running: banger vm exec dev -- COMMAND, banger vm stop dev, banger vm delete -f dev"}` + "\n"},
		{"detached", "run -d", exited(0), nil, 0, []string{created}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			given := answers{created: result("dev"), entered: sessionAt(guest(t, hello, test.guest))}
			if test.delete != nil {
				given[deleted] = test.delete
			}
			d := newDaemon(t, given)
			a, o := newApp(t)
			if status := a.runLine(t, strings.Fields(test.line)...); status != test.status {
				t.Errorf("banger %s: exit status %d, want %d", test.line, status, test.status)
			}
			want := "out"
			if strings.Contains(test.line, "-d") {
				want = "dev\n"
			}
			if got := o.stdout(); got != want {
				t.Errorf("stdout has %q, want %q", got, want)
			}
			if diff := cmp.Diff(test.stderr, o.stderr()); diff != "" {
				t.Errorf("stderr differs (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(strings.Join(test.asked, "\n"), d.asked()); diff != "" {
				t.Errorf("the daemon was asked something else (-want +got):\n%s", diff)
			}
		})
	}
}

// A VM that did not come up is not asked for again: the daemon keeps it.
func TestRunBootFails(t *testing.T) {
	fault := `{"fault":{"code":"boot","message":"start VM \"dev\": panic","console":["last"],"vm":"dev"}}`
	for _, test := range []struct{ line, stderr string }{
		{"run -q --rm -- x", "banger: start VM \"dev\": panic\n  the last lines of its console:\n    last\n  VM dev was kept for a look: banger vm logs dev; banger vm delete dev\n"},
		{"run --json --rm -- x", fault + "\n"},
	} {
		d := newDaemon(t, answers{created: lines(fault)})
		a, o := newApp(t)
		if status := a.runLine(t, strings.Fields(test.line)...); status != exitFailed {
			t.Errorf("banger %s: exit status %d, want %d", test.line, status, exitFailed)
		}
		if diff := cmp.Diff(test.stderr, o.stderr()); diff != "" {
			t.Errorf("banger %s: stderr differs (-want +got):\n%s", test.line, diff)
		}
		if got := d.asked(); got != created {
			t.Errorf("banger %s: the daemon was asked %q, want %q", test.line, got, created)
		}
	}
}

// A session that breaks is explained by the VM's end.
func TestBreak(t *testing.T) {
	newDaemon(t, answers{
		"GET /v1/vms/dev/session": sessionAt(guest(t, nil, exec.Status{})),
		"GET /v1/vms/0123456789abcdef": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"name":"dev","state":"stopped","ending":{"cause":"panic","detail":"Kernel panic - not syncing: \u001b","console":["bye"]}}`)
		},
	})
	a, o := newApp(t)
	if status := a.runLine(t, "vm", "exec", "dev", "--", "x"); status != exitFailed {
		t.Errorf("exit status %d, want %d", status, exitFailed)
	}
	want := "banger: VM dev ended under its session: Kernel panic - not syncing: \\x1b\n  the last lines of its console:\n    bye\n"
	if diff := cmp.Diff(want, o.stderr()); diff != "" {
		t.Errorf("stderr differs (-want +got):\n%s", diff)
	}
}

func TestLists(t *testing.T) {
	newDaemon(t, answers{
		"GET " + api.ListVMs.Path: func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `[{"id":"0123456789abcdef","name":"dev","spec":{"image":"ev\u001bil","vcpus":2,"mem_mib":512,"disk_mib":8192},"state":"running","disk_used_bytes":5242880}]`)
		},
		"GET " + api.ListImages.Path: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `null`) },
	})
	for _, test := range []struct{ line, want string }{
		{"ps -q", "0123456789abcdef\n"},
		{"vm list", "NAME  ID            STATE    IMAGE     VCPU  MEMORY  DISK USED    AGE\ndev   0123456789ab  running  ev\\x1bil  2     512M    5 MiB of 8G  "},
		{"image list --json", "[]\n"},
		{"image list", "REF  DIGEST  SIZE  AGE  SOURCE\n"},
		{"__complete vm stop", "dev\trunning, ev\\x1bil\n:4\n"},
		{"__complete vm start", ":4\n"},
		{"__complete vm stop dev", ":4\n"},
	} {
		a, o := newApp(t)
		args := strings.Fields(test.line)
		if args[0] == "__complete" {
			args = append(args, "")
		}
		if status := a.runLine(t, args...); status != 0 {
			t.Errorf("banger %s: exit status %d\n%s", test.line, status, o.stderr())
		}
		if got := o.stdout(); !strings.HasPrefix(got, test.want) {
			t.Errorf("banger %s wrote\n%q, want\n%q", test.line, got, test.want)
		}
	}
}
