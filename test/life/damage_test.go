//go:build standin

package life

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/vm"
)

// recordDamage is what can happen to the records while no daemon runs: to the
// database, or to a VM's directory.
// format is how a record's JSON says its format.
var format = fmt.Sprintf(`"format":%d`, vm.RecordFormat)

var recordDamage = []struct {
	name   string
	damage func(w *world, db string, text []byte) []byte
	fix    bool // the daemon refuses it, until doctor --fix
}{
	{"destroyed", func(w *world, db string, _ []byte) []byte { return nil }, false},
	{"emptied", func(w *world, db string, _ []byte) []byte { return []byte{} }, false},
	{"another file", func(w *world, db string, text []byte) []byte { return bytes.Repeat([]byte("x"), 5000) }, true},
	{"half a page torn", func(w *world, db string, text []byte) []byte {
		copy(text[4096+2048:], make([]byte, 2048))
		return text
	}, true},
	{"cut", func(w *world, db string, text []byte) []byte { return text[:len(text)-1000] }, true},
	{"a row's text", func(w *world, db string, text []byte) []byte {
		return bytes.ReplaceAll(text, []byte(format), []byte(`"format":"`))
	}, false},
	{"a row's format", func(w *world, db string, text []byte) []byte {
		return bytes.ReplaceAll(text, []byte(format), []byte(`"format":0`))
	}, false},
	{"a copy", func(w *world, db string, text []byte) []byte {
		for _, path := range glob(filepath.Join(w.state(), "vms", "*", "vm.json")) {
			os.WriteFile(path, []byte("{"), 0o600)
		}
		return text
	}, false},
}

// Whatever happens to the records, doctor names it, doctor --fix mends it, each VM
// is found again and what runs goes on.
func TestDamagedRecords(t *testing.T) {
	t.Parallel()
	for _, c := range recordDamage {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.mustStart()
			live := w.create("live", true)
			for n := range 12 { // more than a page of records
				w.create(fmt.Sprintf("still-%d", n), false)
			}
			w.stop()
			db := filepath.Join(w.state(), "banger.db")
			text, err := os.ReadFile(db)
			if err != nil {
				t.Fatal(err)
			}
			if text = c.damage(w, db, text); text == nil {
				for _, path := range glob(db + "*") {
					os.Remove(path)
				}
			} else if err := os.WriteFile(db, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if c.fix {
				if err := w.start(); err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), db) {
					t.Fatalf("a daemon on it: %v", err)
				}
				<-w.ended
				if out, err := w.command("doctor").CombinedOutput(); err == nil || !bytes.Contains(out, []byte("banger doctor --fix")) {
					t.Errorf("doctor: %v\n%s", err, out)
				}
			}
			out, _ := w.command("doctor", "--fix").CombinedOutput() // the stand-in's host lacks other things
			if !bytes.Contains(out, []byte("13 VMs")) {
				t.Errorf("doctor --fix:\n%s", out)
			}
			w.mustStart()
			list, err := w.client.ListVMs(w.ctx())
			if err != nil || len(list) != 13 {
				t.Fatalf("%d VMs, %v", len(list), err)
			}
			if now := w.show("live"); now == nil || now.State != vm.Running || now.BootID != live.BootID {
				t.Errorf("what ran is %+v", now)
			}
			if out, err := w.command("doctor", "--fix").CombinedOutput(); err == nil || !bytes.Contains(out, []byte("banger daemon stop")) {
				t.Errorf("doctor --fix beside a daemon: %v\n%s", err, out)
			}
			for _, path := range glob(db + ".damaged-*") { // which is kept for a look
				os.Remove(path)
			}
			w.check()
		})
	}
}
