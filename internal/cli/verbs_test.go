package cli

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"banger/internal/api"
	"banger/internal/vm"
)

// body answers with text and keeps the request's body in *got.
func body(got *string, text string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		in, _ := io.ReadAll(r.Body)
		*got = string(in)
		io.WriteString(w, text+"\n")
	}
}

// What is typed is what is sent.
func TestRequests(t *testing.T) {
	var got string
	take := func(out string) func(http.ResponseWriter, *http.Request) { return body(&got, out) }
	newDaemon(t, answers{
		"POST /v1/vms":                             take(vmResult("a")),
		"POST /v1/vms/a/start":                     take(vmResult("a")),
		"POST /v1/vms/a/stop":                      take(vmResult("a")),
		"POST /v1/vms/a/restart":                   take(vmResult("a")),
		"POST /v1/vms/a/kill":                      take(vmResult("a")),
		"PATCH /v1/vms/a":                          take(vmResult("a")),
		"DELETE /v1/vms/a":                         take(`{"result":{"vm":{"name":"a"}}}`),
		"DELETE /v1/vms/a?discard=true&force=true": take(`{"result":{"vm":{"name":"a"}}}`),
		"GET /v1/vms/a/wait?state=stopped":         take(vmResult("a")),
		"GET /v1/vms/nosuch/wait?state=gone":       take(`{"result":{}}`),
		"POST /v1/trash/a/restore":                 take(`{"name":"a"}`),
		"POST /v1/trash/empty":                     take(`{"entries":1,"used_bytes":1024}`),
		"GET /v1/vms/a/logs?follow=true":           take("log"),
	})
	for _, test := range []struct{ line, sent, printed string }{
		{"vm create", `{"name":"","spec":{"image":"","kernel":"","vcpus":0,"mem_mib":0,"disk_mib":0,"driver":""},"start":true}`, "a"},
		{"vm create --no-start --name a", `{"name":"a","spec":{"image":"","kernel":"","vcpus":0,"mem_mib":0,"disk_mib":0,"driver":""},"start":false}`, "a"},
		{"vm start a", `{}`, "a"},
		{"vm start --force --wait=system a", `{"force":true,"wait":"system"}`, "a"},
		{"vm restart --wait system a", `{"wait":"system"}`, "a"},
		{"vm stop a", `{}`, "a"},
		{"vm kill a", `{"signal":"KILL"}`, "a"},
		{"vm kill -s sigterm a", `{"signal":"TERM"}`, "a"},
		{"vm set a --vcpu 2 --memory 1G", `{"vcpus":2,"mem_mib":1024}`, "a"},
		{"vm set a --name b", `{"name":"b"}`, "a"},
		{"vm set a --ttl 90m", `{"ttl_seconds":5400}`, "a"},
		{"vm set a --ttl none", `{"ttl_seconds":-1}`, "a"},
		{"vm delete a", ``, "a"},
		{"vm rm -f --discard a", ``, "a"},
		{"vm wait a stopped --timeout 1m", ``, ""},
		{"vm wait nosuch gone", ``, ""},
		{"trash restore a", `{}`, "a"},
		{"trash restore a --name b", `{"name":"b"}`, "a"},
		{"trash empty", `{}`, "1 removed, 1 KiB freed"},
		{"trash empty a b", `{"refs":["a","b"]}`, "1 removed, 1 KiB freed"},
		{"vm logs -f a", ``, "log"},
	} {
		got = ""
		a, o := newApp(t)
		if status := a.runLine(t, strings.Fields(test.line)...); status != 0 {
			t.Errorf("banger %s: exit status %d: %s", test.line, status, o.stderr())
		}
		if got != test.sent {
			t.Errorf("banger %s sent %s, want %s", test.line, got, test.sent)
		}
		if printed := strings.TrimSpace(o.stdout()); printed != test.printed {
			t.Errorf("banger %s printed %q, want %q", test.line, printed, test.printed)
		}
	}
}

// The exit status is the first failure's, whatever became of the others.
func TestFirstFailure(t *testing.T) {
	newDaemon(t, answers{
		"POST /v1/vms/bad/kill":  lines(`{"fault":{"code":"invalid","message":"bad"}}`),
		"POST /v1/vms/late/kill": lines(`{"fault":{"code":"state","message":"late"}}`),
		"POST /v1/vms/good/kill": result("good"),
	})
	for line, want := range map[string]int{"vm kill bad late good": exitUsage, "vm kill good late bad": exitFailed, "vm kill good": 0} {
		a, o := newApp(t)
		if status := a.runLine(t, strings.Fields(line)...); status != want {
			t.Errorf("banger %s: exit status %d, want %d", line, status, want)
		}
		if got := o.stdout(); got != "good\n" {
			t.Errorf("banger %s: stdout has %q, want the one that succeeded", line, got)
		}
	}
}

// What the daemon says of a delete and of a forced stop reaches the user.
func TestDeleteSaysWhatWouldBeFreed(t *testing.T) {
	newDaemon(t, answers{"DELETE /v1/vms/a": deletedVM("a"), "DELETE /v1/vms/b": deletedVM("b")})
	for line, want := range map[string]string{
		"vm delete a b":      "banger: moved to the trash; banger trash empty would free 3 MiB\n",
		"vm delete -q a":     "",
		"vm delete --json a": "",
	} {
		a, o := newApp(t)
		if status := a.runLine(t, strings.Fields(line)...); status != 0 || o.stderr() != want {
			t.Errorf("banger %s: exit status %d, stderr %q; want 0, %q", line, status, o.stderr(), want)
		}
	}
}

func TestHealth(t *testing.T) {
	newDaemon(t, answers{
		"GET /v1/vms/a/health": lines(`{"healthy":true,"state":"running","guest":{"uptime_millis":61000,"init":"systemd","mem_total_kib":2048,"mem_free_kib":1024}}`),
		"GET /v1/vms/b/health": lines(`{"healthy":false,"state":"running","problems":["its agent is \u001bgone"]}`),
	})
	for _, test := range []struct {
		ref    string
		status int
		want   string
	}{
		{"a", 0, "health    healthy\nstate     running\nup for    1m\ninit      systemd\nmemory    1 MiB of 2 MiB free\ncommands  0\n"},
		{"b", 1, "health   not healthy\nstate    running\nproblem  its agent is \\x1bgone\n"},
		{"nosuch", exitFailed, ""},
	} {
		a, o := newApp(t)
		if status := a.runLine(t, "vm", "health", test.ref); status != test.status || o.stdout() != test.want {
			t.Errorf("health %s: exit status %d, stdout %q; want %d, %q", test.ref, status, o.stdout(), test.status, test.want)
		}
	}
}

// prune deletes exactly what it listed, and nothing that nobody agreed to.
func TestPrune(t *testing.T) {
	var sent []string
	newDaemon(t, answers{"POST /v1/vms/prune": func(w http.ResponseWriter, r *http.Request) {
		in, _ := io.ReadAll(r.Body)
		sent = append(sent, string(in))
		io.WriteString(w, `{"result":{"vms":[{"id":"0123456789abcdef","name":"a","state":"stopped"},{"id":"1123456789abcdef","name":"b","state":"created"}],"trash_bytes":1024}}`+"\n")
	}})
	const dry, done = `{"dry_run":true}`, `{"ids":["0123456789abcdef","1123456789abcdef"]}`
	for _, test := range []struct {
		line         string
		status       int
		sent, stdout string
		stderr       string
	}{
		{"vm prune", exitUsage, dry, "", "banger vm prune -f deletes without asking"},
		{"vm prune --dry-run", 0, dry, "a\nb\n", ""},
		{"vm prune -f", 0, dry + done, "a\nb\n", "would free 1 KiB"},
		{"vm prune -f -q", 0, dry + done, "a\nb\n", ""},
	} {
		sent = nil
		a, o := newApp(t)
		if status := a.runLine(t, strings.Fields(test.line)...); status != test.status {
			t.Errorf("banger %s: exit status %d, want %d", test.line, status, test.status)
		}
		if got := strings.Join(sent, ""); got != test.sent {
			t.Errorf("banger %s sent %s, want %s", test.line, got, test.sent)
		}
		if got := o.stdout(); got != test.stdout {
			t.Errorf("banger %s wrote %q, want %q", test.line, got, test.stdout)
		}
		if got := o.stderr(); !strings.Contains(got, test.stderr) || (test.stderr == "") != (got == "") {
			t.Errorf("banger %s: stderr has %q, want %q", test.line, got, test.stderr)
		}
	}
}

func TestReadYes(t *testing.T) {
	for text, want := range map[string]bool{"y\n": true, "YES\n": true, "n\n": false, "\n": false, "": false, "yes, all\n": false, "y": true} {
		a, _ := newApp(t)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		a.stdin = r
		io.WriteString(w, text)
		w.Close()
		if got, err := a.readYes(t.Context()); got != want || err != nil {
			t.Errorf("readYes of %q = %v, %v; want %v", text, got, err, want)
		}
		r.Close()
	}
}

func TestRemarks(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 0, 0, 0, time.Local)
	before := now.Add(-time.Minute)
	for _, test := range []struct {
		v    api.VM
		want string // list's, then show's
	}{
		{api.VM{}, "|"},
		{api.VM{SilentSince: before}, "does not answer since 14:59:00|silent: its supervisor does not answer since 2026-01-02 14:59:00"},
		{api.VM{Name: "a", AgentGoneSince: before}, "agent gone since 14:59:00|agent: its agent is gone since 2026-01-02 14:59:00: commands can't run; if it does not come back by itself: banger vm restart a"},
		{api.VM{Spec: api.Spec{MemMiB: 512}, OutOfMemory: &api.OutOfMemory{At: before, Process: "perl"}},
			"|out of memory: its kernel killed perl at 2026-01-02 14:59:00: it has 512M; vm set --memory"},
		{api.VM{DiskState: vm.DiskChecked},
			"|root: a write to its disk had failed in an earlier run; its metadata were checked, and are whole"},
		{api.VM{Name: "a", DiskState: vm.DiskReadOnly}, "errors of its disk, it is read-only|root: its disk gave errors, and it takes no more writes: " +
			"what was synced is safe; when the host's disk is well: banger vm restart a"},
		{api.VM{Held: "the host's disk is full"}, "the host's disk is full|held: the VMM holds it still: the host's disk is full"},
		{api.VM{EndsAt: now.Add(90 * time.Minute)}, "ends in 1h 30m|ends: in 1h 30m, at 2026-01-02 16:30:00"},
		{api.VM{Spec: api.Spec{TTLSeconds: 5400}}, "|ttl: each run ends after 1h30m0s"},
		{api.VM{Operation: "stop"}, "stop is under way|under way: stop"},
		{api.VM{NotRecorded: "no space"}, "not recorded|not recorded: this state could not be written to disk: no space"},
		{api.VM{NotSaved: "no git"}, "not saved|not saved: work in it was not saved: no git"},
		{api.VM{Remove: true}, "|goes with: its session (--rm)"},
		{api.VM{State: vm.Error, Ending: &api.Ending{Cause: vm.CauseMemory, Detail: "the host ran out of memory"}},
			"the host ran out of memory and its kernel killed the VMM|"},
		{api.VM{State: vm.Error, Ending: &api.Ending{Cause: vm.CausePanic, Detail: "Kernel panic: \x1b"}}, `Kernel panic: \x1b|`},
		{api.VM{State: vm.Stopped, Ending: &api.Ending{Cause: vm.CauseStopped}}, "|"},
	} {
		var short, long []string
		for _, r := range remarks(test.v, now) {
			if r.short != "" {
				short = append(short, r.short)
			}
			if r.long != "" {
				long = append(long, r.key+": "+r.long)
			}
		}
		if diff := cmp.Diff(test.want, strings.Join(short, ";")+"|"+strings.Join(long, ";")); diff != "" {
			t.Errorf("remarks of %+v differ (-want +got):\n%s", test.v, diff)
		}
	}
}

// A cause is said once.
func TestEndingText(t *testing.T) {
	for _, test := range []struct {
		e    api.Ending
		want string
	}{
		{api.Ending{Cause: vm.CauseStopped}, "stopped"},
		{api.Ending{Cause: vm.CauseStopped, Forced: true, Detail: "its services took 10 s"}, "stopped, by force: its services took 10 s"},
		{api.Ending{Cause: vm.CauseKilled, Detail: "SIGTERM"}, "killed: SIGTERM"},
		{api.Ending{Cause: vm.CauseGuest}, "the guest ended itself"},
		{api.Ending{Cause: vm.CauseGuest, Detail: "the guest ended itself (reset)"}, "the guest ended itself (reset)"},
		{api.Ending{Cause: vm.CausePanic, Detail: "Kernel panic - not syncing: x"}, "Kernel panic - not syncing: x"},
		{api.Ending{Cause: "ne\x1bw", Detail: "d"}, `ne\x1bw: d`},
	} {
		if got := endingText(test.e); got != test.want {
			t.Errorf("endingText(%+v) = %q, want %q", test.e, got, test.want)
		}
	}
}

func TestStats(t *testing.T) {
	begin := time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)
	at := func(seconds, cpuMillis int) api.Stats {
		return api.Stats{ID: "0123456789abcdef", At: begin.Add(time.Duration(seconds) * time.Second), Since: begin, CPUMillis: int64(cpuMillis)}
	}
	again := at(3, 10)
	again.Since = begin.Add(2 * time.Second)
	rounded := at(3, 1500)
	rounded.Since = begin.Add(9 * time.Millisecond)
	for _, test := range []struct {
		before, now api.Stats
		want        string
	}{
		{api.Stats{}, at(1, 10), "-"},
		{at(1, 500), at(3, 2500), "100%"},
		{at(1, 500), rounded, "50%"},
		{at(1, 500), again, "-"}, // another run
		{at(1, 500), at(1, 500), "-"},
		{at(1, 500), at(2, 400), "0%"},
	} {
		if got := cpuText(test.before, test.now); got != test.want {
			t.Errorf("cpuText(%+v, %+v) = %q, want %q", test.before, test.now, got, test.want)
		}
	}
}
