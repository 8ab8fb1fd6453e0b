package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

// parse reads a VM's flags as create does.
func parse(t *testing.T, args ...string) (api.Create, error) {
	t.Helper()
	a, _ := newApp(t)
	a.environ = []string{"HTTPS_PROXY=http://proxy.example", "TOKEN=s3cret"}
	var f vmFlags
	cmd := &cobra.Command{Use: "test"}
	f.add(a, cmd)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return f.create(a, cmd)
}

// The request has what was typed, and the variables that count: defaults are the daemon's.
func TestCreateRequest(t *testing.T) {
	for _, test := range []struct {
		args []string
		want api.Create
	}{
		{nil, api.Create{}},
		{[]string{"--name", "dev"}, api.Create{Name: "dev"}},
		{[]string{"--vcpu", "2", "--memory", "512"}, api.Create{Spec: api.Spec{VCPUs: 2, MemMiB: 512}}},
		{[]string{"--memory=4GiB", "--disk-size=1T"}, api.Create{Spec: api.Spec{MemMiB: 4096, DiskMiB: 1 << 20}}},
		{[]string{"--image", "x", "--vmm", "auto"}, api.Create{Spec: api.Spec{Image: "x", Driver: "auto"}}},
		{[]string{"--ttl", "90m", "--force"}, api.Create{Spec: api.Spec{TTLSeconds: 5400}, Force: true}},
		{[]string{"--ttl=2d", "--wait=system"}, api.Create{Spec: api.Spec{TTLSeconds: 172800}, Wait: api.WaitSystem}},
		{[]string{"--wait", "agent"}, api.Create{}},
	} {
		test.want.Start, test.want.Env = true, []string{"HTTPS_PROXY=http://proxy.example"}
		got, err := parse(t, test.args...)
		if err != nil {
			t.Errorf("create of %q: %v", test.args, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("create of %q differs (-want +got):\n%s", test.args, diff)
		}
	}
}

// What can't be meant is a usage error that begins with the flag.
func TestBadSpec(t *testing.T) {
	for flag, values := range map[string][]string{
		"vcpu":      {"0", "-1", "9999", "abc", "", "1.5", "99999999999999999999", "0x2"},
		"memory":    {"1k", "0", "-5", "99T", "", "4 G", "1M", "127M"},
		"disk-size": {"0", "63M", "17T", "x"},
		"name":      {"", "UPPER", "a/b", "a\nb", "-a", "a-", strings.Repeat("x", 64), "é"},
		"image":     {""},
		"vmm":       {""},
		"ttl":       {"", "0", "-1h", "8", "3w", "1.5d", "400d", "99999999999d", "d"},
		"wait":      {"", "boot"},
	} {
		for _, v := range values {
			_, err := parse(t, "--"+flag+"="+v)
			if exitCode(t.Context(), err) != exitUsage || !strings.HasPrefix(err.Error(), "--"+flag+": ") {
				t.Errorf("create of --%s=%q: %v, want a usage error that begins with --%s", flag, v, err, flag)
			}
		}
	}
}

// FuzzCreate: whatever is typed, a request is sound or the error names a flag.
func FuzzCreate(f *testing.F) {
	f.Add("dev", "2", "4G", "8G", "debian-12", "auto", "8h")
	f.Add("", "0", "1k", "99T", "", "", "-1d")
	f.Fuzz(func(t *testing.T, name, vcpu, memory, disk, image, vmm, ttl string) {
		got, err := parse(t, "--name="+name, "--vcpu="+vcpu, "--memory="+memory, "--disk-size="+disk, "--image="+image, "--vmm="+vmm, "--ttl="+ttl)
		s := vm.Spec{Name: got.Name, Image: got.Spec.Image, Kernel: vm.DefKernel, VCPUs: got.Spec.VCPUs, MemMiB: got.Spec.MemMiB,
			DiskMiB: got.Spec.DiskMiB, Driver: got.Spec.Driver, TTLSeconds: got.Spec.TTLSeconds}
		switch {
		case err == nil && s.Check() != nil:
			t.Errorf("the request %+v is not sound: %v", got, s.Check())
		case err != nil && (exitCode(t.Context(), err) != exitUsage || !strings.HasPrefix(err.Error(), "--")):
			t.Errorf("create: %v, want a usage error that begins with the flag", err)
		}
	})
}

func TestGuestCommand(t *testing.T) {
	for _, test := range []struct {
		args []string
		ref  string
		argv []string
		bad  bool
	}{
		{nil, "", nil, false},
		{[]string{"dev"}, "dev", nil, false},
		{[]string{"dev", "--"}, "dev", nil, false},
		{[]string{"dev", "--", "ls", "-l"}, "dev", []string{"ls", "-l"}, false},
		{[]string{"dev", "ls", "-l", "--", "-x"}, "dev", []string{"ls", "-l", "--", "-x"}, false},
		{[]string{"dev", "--", "--", "x"}, "dev", []string{"--", "x"}, false},
		{[]string{"dev", "--", ""}, "dev", []string{""}, false},
		{[]string{"dev", "-t", "--", "sh"}, "", nil, true},
		{[]string{"dev", "--help"}, "", nil, true},
	} {
		ref, argv, err := guestCommand(test.args)
		if ref != test.ref || !slices.Equal(argv, test.argv) || (err != nil) != test.bad {
			t.Errorf("guestCommand(%q) = %q, %q, %v; want %q, %q, an error: %v", test.args, ref, argv, err, test.ref, test.argv, test.bad)
		}
		if err != nil && exitCode(t.Context(), err) != exitUsage {
			t.Errorf("guestCommand(%q) = %v, which is no usage error", test.args, err)
		}
	}
}

// Command lines that can't be meant are refused before a daemon is asked: here
// none could be.
func TestUsage(t *testing.T) {
	t.Setenv("BANGER_NO_AUTOSTART", "1")
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	for _, test := range []struct{ line, want string }{
		{"nosuch", `unknown command "nosuch" for "banger"`},
		{"vm lits", "did you mean list"},
		{"create --name a", `unknown command "create" for "banger": did you mean banger vm create?`},
		{"vm pull", "did you mean banger kernel pull?"},
		{"vm --name", "unknown flag: --name: see banger vm --help"},
		{"vm list extra", `takes no argument "extra"`},
		{"image nosuch", `unknown command "nosuch" for "banger image"`},
		{"help nosuch", `unknown command "nosuch"`},
		{"completion nosuch", `unknown command "nosuch"`},
		{"vm run --nosuch", "unknown flag: --nosuch: see banger vm run --help"},
		{"vm run --rm -d", "--rm and --detach exclude each other"},
		{"run --rm --detach", "--rm and --detach exclude each other"},
		{"vm run -d -- true", "banger vm exec NAME -- true"},
		{"vm run -t -T", "-t and -T exclude each other"},
		{"vm run ./repo other", `"other": a command goes after --`},
		{"vm run ./repo other -- true", `"other": a command goes after --`},
		{"vm run --vcpu abc -- true", `--vcpu: "abc"`},
		{"vm create --memory 1k", `--memory: size "1k"`},
		{"vm create extra", `takes no argument "extra"`},
		{"vm exec dev", "banger vm exec VM -- COMMAND"},
		{"vm exec dev --", "banger vm exec VM -- COMMAND"},
		{"vm exec", "banger vm exec VM -- COMMAND"},
		{"vm exec dev -t -- sh", "flag -t goes before the VM"},
		{"vm exec -e =x dev -- env", `--env: "=x" is not KEY or KEY=VALUE`},
		{"vm exec -u :staff dev -- id", `--user: ":staff" is not USER or USER:GROUP`},
		{"vm ssh -u alice: dev", `--user: "alice:" is not USER or USER:GROUP`},
		{"vm run -d -e A=1", "--detach runs no command: --env goes to banger vm exec"},
		{"vm ssh", "needs a VM"},
		{"vm start", "needs a VM"},
		{"vm show", "needs a VM"},
		{"vm logs a b", `takes no argument "b"`},
		{"daemon stop now", `takes no argument "now"`},
		{"version 1", `takes no argument "1"`},
	} {
		a, o := newApp(t)
		if status := a.runLine(t, strings.Fields(test.line)...); status != exitUsage {
			t.Errorf("banger %s: exit status %d, want %d", test.line, status, exitUsage)
		}
		if got := o.stderr(); !strings.Contains(got, test.want) || o.stdout() != "" {
			t.Errorf("banger %s: wrote %q to stderr and %q to stdout; want %q in stderr alone", test.line, got, o.stdout(), test.want)
		}
	}
}

// The configuration's driver is sent if none was typed; what is wrong with it
// names the file.
func TestConfiguredDriver(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	path := filepath.Join(dir, "banger", "config.toml")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"": "", "vmm = \"qemu\"": "qemu", "vmm = \"xen\"": "an error", "vm = 1": "an error"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got := ""
		_, err := withConfig(api.Create{}, func(req api.Create) (api.VM, error) {
			if got = req.Spec.Driver; got == "xen" {
				return api.VM{}, &api.Fault{Code: api.CodeInvalid, Field: "vmm", Message: "no such driver"}
			}
			return api.VM{}, nil
		})
		if err != nil && strings.Contains(err.Error(), path) {
			got = "an error"
		} else if err != nil {
			t.Errorf("with %q: %v, want the error to name %s", text, err, path)
		}
		if got != want {
			t.Errorf("with %q the driver is %q, want %q", text, got, want)
		}
	}
}
