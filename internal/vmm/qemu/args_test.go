package qemu

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"banger/internal/vmm"
)

func machineSpec() vmm.Spec {
	return vmm.Spec{
		ID: "0123456789abcdef", VCPUs: 2, MemMiB: 1024,
		Kernel: "/k/vmlinux", Initrd: "/k/initrd", Cmdline: "loglevel=4",
		Disks: []vmm.Disk{{Path: "/i/base, \"1\".ext4", ReadOnly: true}, {Path: "/v/disk"}, {Path: "/k/modules.ext4", ReadOnly: true}},
	}
}

// Another version of the program may meet a guest that this argument list made
// (snapshots): a change here is seen before it is made.
func TestArguments(t *testing.T) {
	for _, accel := range []string{vmm.AccelTCG, vmm.AccelKVM} {
		args, err := arguments(machineSpec(), accel, true)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(args, "\n") + "\n"
		golden := "testdata/args-" + accel + ".golden"
		if os.Getenv("BANGER_UPDATE_GOLDEN") != "" {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("arguments for %s differ from %s (-want +got):\n%s", accel, golden, diff)
		}
	}
}

func TestArgumentsRefuse(t *testing.T) {
	for want, spoil := range map[string]func(*vmm.Spec){
		"256 vCPUs":            func(s *vmm.Spec) { s.VCPUs = 256 },
		"0 vCPUs":              func(s *vmm.Spec) { s.VCPUs = 0 },
		"0 MiB":                func(s *vmm.Spec) { s.MemMiB = 0 },
		"17 disks":             func(s *vmm.Spec) { s.Disks = make([]vmm.Disk, 17) },
		`kernel ""`:            func(s *vmm.Spec) { s.Kernel = "" },
		`"vmlinux"`:            func(s *vmm.Spec) { s.Kernel = "vmlinux" },
		`"-evil"`:              func(s *vmm.Spec) { s.Initrd = "-evil" },
		`disk "nbd://x"`:       func(s *vmm.Spec) { s.Disks[1].Path = "nbd://x" },
		"the same disk":        func(s *vmm.Spec) { s.Disks[1].Path = s.Disks[0].Path },
		"id \"x,y\"":           func(s *vmm.Spec) { s.ID = "x,y" },
		"command line of 2048": func(s *vmm.Spec) { s.Cmdline = strings.Repeat("x", 2048-len(baseCmdline)-1) },
	} {
		s := machineSpec()
		spoil(&s)
		if args, err := arguments(s, vmm.AccelTCG, true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("arguments = %q, %v; want an error with %q", args, err, want)
		}
	}
}

// Whatever a path holds, it is one file name to QEMU and the option's other
// keys stay what they are.
func FuzzBlockNode(f *testing.F) {
	for _, path := range []string{"/a", "/a,b", `/a"},{"driver":"nbd"`, "/a\nb", "/\xff"} {
		f.Add(path, true)
	}
	f.Fuzz(func(t *testing.T, path string, readOnly bool) {
		text, err := blockNode(3, vmm.Disk{Path: path, ReadOnly: readOnly})
		if err != nil || !utf8.ValidString(path) {
			return // check refuses the latter
		}
		var node struct {
			Driver   string `json:"driver"`
			ReadOnly bool   `json:"read-only"`
			File     struct {
				Driver   string `json:"driver"`
				Filename string `json:"filename"`
				ReadOnly bool   `json:"read-only"`
			} `json:"file"`
		}
		if err := json.Unmarshal([]byte(text), &node); err != nil {
			t.Fatalf("blockNode(%q) = %s: %v", path, text, err)
		}
		if node.Driver != "raw" || node.File.Driver != "file" || node.File.Filename != path || node.ReadOnly != readOnly || node.File.ReadOnly != readOnly {
			t.Errorf("blockNode(%q, %v) = %s", path, readOnly, text)
		}
	})
}
