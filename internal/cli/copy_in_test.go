package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"banger/internal/api"
	"banger/internal/channel/exec"
	"banger/internal/hint"
	"banger/internal/workspace"
)

// newStore keeps the base of a new repository, as of a VM's workspace.
func newStore(t *testing.T) workspace.Store {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	repo := filepath.Join(dir, "repo")
	if out, err := osexec.Command("git", "init", "-q", repo).CombinedOutput(); err != nil {
		t.Fatalf("git init: %v: %s", err, out)
	}
	r, err := workspace.Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	p, err := workspace.NewPlan(t.Context(), r, workspace.Options{Scratch: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s, err := workspace.NewStore(t.Context(), filepath.Join(dir, "store"), p, workspace.Owner{ID: "1", Name: "dev", GuestPath: "/root/repo"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A workspace whose directory is gone in the guest can't be saved: with --force the copy
// goes in all the same. Nothing else that can't be saved is replaced, and what lies
// elsewhere is in nobody's way.
func TestMakeRoomGone(t *testing.T) {
	s := newStore(t)
	before := time.Now().UTC()
	for name, c := range map[string]struct {
		report string    // the guest's
		saved  time.Time // after the save that failed
		force  bool
		err    string
		hint   string
	}{
		"gone":              {`{"error":"no such","gone":true}`, before, false, "the directory /root/repo is gone in VM dev", "--force"},
		"gone, forced":      {`{"error":"no such","gone":true}`, before, true, "", ""},
		"not gone, forced":  {`{"error":"odd"}`, before, true, "nothing was replaced: not to be saved", ""},
		"no answer, forced": {"", before, true, "nothing was replaced: not to be saved", ""},
		"another one's":     {"", before.Add(time.Second), false, "", ""},
	} {
		vm := func(saved time.Time) func(w http.ResponseWriter, _ *http.Request) {
			return func(w http.ResponseWriter, _ *http.Request) {
				json.NewEncoder(w).Encode(api.VM{ID: "1", Name: "dev", Workspaces: []api.Workspace{
					{GuestPath: "/root/other", Dir: "/nonexistent"}, {GuestPath: "/root/repo", Dir: s.Dir, SavedAt: saved},
				}})
			}
		}
		var asked atomic.Bool
		newDaemon(t, answers{
			"GET /v1/vms/1": func(w http.ResponseWriter, r *http.Request) {
				if asked.Load() {
					vm(c.saved)(w, r)
				} else {
					vm(before)(w, r)
				}
			},
			"POST /v1/vms/1/workspaces/save": func(w http.ResponseWriter, r *http.Request) {
				asked.Store(true)
				lines(`{"fault":{"code":"internal","message":"not to be saved"}}`)(w, r)
			},
		})
		status := exec.Status{Kind: exec.Exited}
		if c.report == "" {
			status = exec.Status{} // the stream breaks
		}
		socket := guest(t, func(w *exec.Writer) { w.Write(exec.TypeStdout, []byte(c.report+"\n")) }, status)
		a, o := newApp(t)
		client, err := a.connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		in := &copyIn{workspaceFlags: &workspaceFlags{}, app: a, show: &plainDisplay{a: a}, force: c.force}
		err = in.makeRoom(t.Context(), client, api.Session{ID: "1", Name: "dev", Socket: socket})
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(hint.Of(err), c.hint)) {
			t.Errorf("%s: makeRoom = %v (%s), want %q", name, err, hint.Of(err), c.err)
		}
		if c.err == "" && !strings.Contains(o.stderr(), "not saved: not to be saved") {
			t.Errorf("%s: stderr has %q", name, o.stderr())
		}
	}
}

// The guest is told what the host has of what is at the place, and of nothing else; a
// repository that is another one is replaced only with --force.
func TestMakeRoom(t *testing.T) {
	for _, anew := range []bool{false, true} {
		for _, force := range []bool{false, true} {
			s := newStore(t)
			work := fmt.Sprintf(`{"at":"2020-01-01T00:00:00Z","tree":"4b825dc642cb6eb9a060e54bf8d69288fbee4904","head":"h","anew":%v,"stats":"s"}`, anew)
			writeFile(t, filepath.Join(s.Dir, "work.json"), work)
			v := api.VM{ID: "1", Name: "dev", Workspaces: []api.Workspace{{GuestPath: "/root/other", Dir: "/nonexistent"}, {GuestPath: "/root/repo", Dir: s.Dir}}}
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			newDaemon(t, answers{"GET /v1/vms/1": lines(string(text)), "POST /v1/vms/1/workspaces/save": lines(`{"result":` + string(text) + `}`)})
			a, _ := newApp(t)
			client, err := a.connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			in := &copyIn{workspaceFlags: &workspaceFlags{}, app: a, show: &plainDisplay{a: a}, force: force}
			err = in.makeRoom(t.Context(), client, api.Session{ID: "1", Name: "dev"})
			if refused := err != nil; refused != (anew && !force) {
				t.Errorf("anew %v, force %v: makeRoom = %v", anew, force, err)
			}
			if len(in.known) != 1 || string(in.known[0].Path) != "/root/repo" || in.known[0].Head != "h" || in.known[0].Anew != anew || in.known[0].Stats != "s" {
				t.Errorf("known is %+v", in.known)
			}
		}
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
