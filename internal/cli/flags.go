package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/config"
	"banger/internal/hint"
	"banger/internal/network/mirrors"
	"banger/internal/paths"
	"banger/internal/vm"
)

// text is a flag's value as it was typed. vmFlags checks what it means, so that
// the messages come from one place.
type text string

func (t *text) String() string     { return string(*t) }
func (t *text) Set(s string) error { *t = text(s); return nil }
func (t *text) Type() string       { return "text" }

// vmFlags are the flags that describe a new VM and its first start.
type vmFlags struct {
	name, image, vmm   text
	vcpu, memory, disk text
	ttl, tz            text
	network            networkFlags
	start              startFlags
	quiet, json        bool
}

func (f *vmFlags) add(a *app, cmd *cobra.Command) {
	// For the help only: the daemon decides what is not typed.
	def := vm.Defaults(a.cpus, a.memMiB)
	f.image, f.vmm = text(def.Image), text(def.Driver)
	f.vcpu = text(strconv.Itoa(def.VCPUs))
	f.memory, f.disk = text(vm.FormatMiB(def.MemMiB)), text(vm.FormatMiB(def.DiskMiB))
	fs := cmd.Flags()
	fs.Var(&f.name, "name", "its `NAME` and host name, of a-z, 0-9 and hyphen (default: a random one)")
	fs.Var(&f.image, "image", "base `IMAGE`")
	fs.Var(&f.vcpu, "vcpu", fmt.Sprintf("`N` virtual CPUs, 1 to %d", vm.MaxVCPUs))
	fs.Var(&f.memory, "memory", "memory `SIZE`, as 512M or 4G; a bare number is MiB")
	fs.Var(&f.disk, "disk-size", "`SIZE` of its disk; the host's disk holds only what is written to it")
	fs.Var(&f.vmm, "vmm", "`VMM` that runs it: "+strings.Join(vmms, ", ")+"; auto takes firecracker if KVM is real")
	fs.Var(&f.ttl, "ttl", "stop it after this `TIME` of each run, as 90m, 8h or 2d (default: never)")
	fs.Var(&f.tz, "tz", "time `ZONE`: host (the host's), UTC, or a name as Europe/Berlin (default: the image's)")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "no progress and no notices")
	f.start.add(cmd)
	f.network.add(cmd)
	cmd.RegisterFlagCompletionFunc("image", a.imageRefs)
	cmd.RegisterFlagCompletionFunc("tz", cobra.FixedCompletions([]string{vm.ZoneHost, vm.ZoneUTC}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("vmm", cobra.FixedCompletions(vmms, cobra.ShellCompDirectiveNoFileComp))
	for _, name := range []string{"name", "vcpu", "memory", "disk-size", "ttl"} {
		cmd.RegisterFlagCompletionFunc(name, nothing)
	}
}

// vmms are what --vmm offers; the daemon knows all drivers.
var vmms = []string{vm.DriverAuto, "firecracker", "qemu"}

// startFlags say how a VM is started.
type startFlags struct {
	force bool
	wait  text
}

func (f *startFlags) add(cmd *cobra.Command) {
	f.wait = waits[0]
	cmd.Flags().BoolVar(&f.force, "force", false, "start it although the host has not enough memory free")
	cmd.Flags().Var(&f.wait, "wait", "return when its `PART` is up: agent (commands can run) or system (its services have started)")
	cmd.RegisterFlagCompletionFunc("wait", cobra.FixedCompletions([]string{"agent", "system"}, cobra.ShellCompDirectiveNoFileComp))
}

var waits = []text{"agent", "system"}

// request checks the flags and returns what they ask for.
func (f *startFlags) request() (api.Start, error) {
	switch f.wait {
	case "agent":
		return api.Start{Force: f.force}, nil
	case "system":
		return api.Start{Force: f.force, Wait: api.WaitSystem}, nil
	}
	return api.Start{}, fieldError("wait", fmt.Errorf("%q is neither agent nor system", string(f.wait)))
}

// fieldError is a usage error that begins with the flag's name.
func fieldError(field string, err error) error {
	return &usageError{&vm.FieldError{Field: field, Err: err}}
}

// create checks the flags before anything is asked of the daemon. The request
// holds what was typed; the rest is zero, which the daemon fills in.
func (f *vmFlags) create(a *app, cmd *cobra.Command) (api.Create, error) {
	typed := func(flag string) bool { return cmd.Flags().Changed(flag) }
	start, err := f.start.request()
	if err != nil {
		return api.Create{}, err
	}
	req := api.Create{Start: true, Force: start.Force, Wait: start.Wait, Env: mirrors.Variables(a.environ)}
	whole := vm.Defaults(a.cpus, a.memMiB)
	s := &req.Spec
	if typed("name") {
		if err := vm.CheckName(string(f.name)); err != nil {
			return req, fieldError("name", err)
		}
		req.Name = string(f.name)
	}
	if typed("image") {
		s.Image, whole.Image = string(f.image), string(f.image)
	}
	if typed("vmm") {
		s.Driver, whole.Driver = string(f.vmm), string(f.vmm)
	}
	if typed("vcpu") {
		if s.VCPUs, err = parseVCPUs(f.vcpu); err != nil {
			return req, err
		}
		whole.VCPUs = s.VCPUs
	}
	for _, size := range []struct {
		flag  string
		text  text
		value *int64
		check *int64
	}{{"memory", f.memory, &s.MemMiB, &whole.MemMiB}, {"disk-size", f.disk, &s.DiskMiB, &whole.DiskMiB}} {
		if !typed(size.flag) {
			continue
		}
		if *size.value, err = vm.ParseMiB(string(size.text)); err != nil {
			return req, fieldError(size.flag, err)
		}
		*size.check = *size.value
	}
	if typed("ttl") {
		if s.TTLSeconds, err = parseTTL(f.ttl); err != nil {
			return req, err
		}
	}
	if typed("tz") {
		s.TZ, whole.TZ = string(f.tz), string(f.tz)
		if s.TZ == "" {
			return req, errNoZone
		}
	}
	if s.Network, err = f.network.network(cmd); err != nil {
		return req, err
	}
	if err := whole.Check(); err != nil {
		return req, &usageError{err}
	}
	return req, nil
}

// errNoZone is an empty --tz.
var errNoZone = fieldError("tz", fmt.Errorf("it is empty: use %s, %s, a name as Europe/Berlin, or %s", vm.ZoneHost, vm.ZoneUTC, vm.ZoneNone))

func parseVCPUs(t text) (int, error) {
	n, err := strconv.Atoi(string(t))
	if err != nil {
		return 0, fieldError("vcpu", fmt.Errorf("%q is not a whole number between 1 and %d", string(t), vm.MaxVCPUs))
	}
	return n, nil
}

// configuration is the user's, and the path of its file.
func configuration() (c config.Config, file string, err error) {
	d, err := paths.Host()
	if err != nil {
		return c, "", err
	}
	file = filepath.Join(d.Config, config.File)
	if c, err = config.Load(file); errors.Is(err, fs.ErrPermission) {
		err = hint.Add(fmt.Errorf("use the file below the directory that %s names: %w", paths.From("XDG_CONFIG_HOME"), err),
			"make it readable for you, or set XDG_CONFIG_HOME to a directory of your own")
	}
	return c, file, err
}

// withConfig makes the VM with the configuration's driver if none was typed. If
// the daemon does not know that driver, the error names the file.
func withConfig(req api.Create, make func(api.Create) (api.VM, error)) (api.VM, error) {
	if req.Spec.Driver != "" {
		return make(req)
	}
	c, file, err := configuration()
	if err != nil {
		return api.VM{}, err
	}
	driver := c.VMM
	req.Spec.Driver = driver
	v, err := make(req)
	var f *api.Fault
	if driver != "" && errors.As(err, &f) && slices.Contains([]string{"vmm", "driver"}, f.Field) {
		err = fmt.Errorf("%s: key %q: %w", file, "vmm", err)
	}
	return v, err
}
