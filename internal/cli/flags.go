package cli

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"banger/internal/config"
	"banger/internal/hint"
	"banger/internal/paths"
	"banger/internal/vm"
)

// text is a flag's value as it was typed: what it means is checked by vmFlags,
// in one place and in words of its own.
type text string

func (t *text) String() string     { return string(*t) }
func (t *text) Set(s string) error { *t = text(s); return nil }
func (t *text) Type() string       { return "text" }

// vmFlags are the flags that say what a VM is.
type vmFlags struct {
	name, image, vmm   text
	vcpu, memory, disk text
	quiet, json        bool
}

func (f *vmFlags) add(a *app, cmd *cobra.Command) {
	def := vm.Defaults(a.cpus, a.memMiB)
	f.image, f.vmm = text(def.Image), text(def.VMM)
	f.vcpu = text(strconv.Itoa(def.VCPUs))
	f.memory, f.disk = text(vm.FormatMiB(def.MemMiB)), text(vm.FormatMiB(def.DiskMiB))
	fs := cmd.Flags()
	fs.Var(&f.name, "name", "its `NAME` and host name, of a-z, 0-9 and hyphen (default one is made)")
	fs.Var(&f.image, "image", "base `IMAGE`")
	fs.Var(&f.vcpu, "vcpu", fmt.Sprintf("`N` virtual CPUs, 1 to %d", vm.MaxVCPUs))
	fs.Var(&f.memory, "memory", "memory `SIZE`, as 512M or 4G; a bare number is MiB")
	fs.Var(&f.disk, "disk-size", "`SIZE` of its disk, which takes what is written to it")
	fs.Var(&f.vmm, "vmm", "`VMM` that runs it: "+strings.Join(vmms, ", ")+"; auto takes firecracker where KVM is real")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "no progress and no notices")
	cmd.RegisterFlagCompletionFunc("image", a.imageRefs)
	cmd.RegisterFlagCompletionFunc("vmm", cobra.FixedCompletions(vmms, cobra.ShellCompDirectiveNoFileComp))
	for _, name := range []string{"name", "vcpu", "memory", "disk-size"} {
		cmd.RegisterFlagCompletionFunc(name, nothing)
	}
}

// vmms are what --vmm and the configuration's vmm take.
var vmms = []string{"auto", "firecracker", "qemu"}

// defaultVMM is the configuration's, or auto.
func defaultVMM() (text, error) {
	d, err := paths.Host()
	if err != nil {
		return "", err
	}
	path := filepath.Join(d.Config, config.File)
	c, err := config.Load(path)
	switch {
	case err != nil:
		return "", err
	case c.VMM == "":
		return "auto", nil
	case !slices.Contains(vmms, c.VMM):
		return "", hint.Add(fmt.Errorf("read %s: key %q: VMM %q is not known", path, "vmm", c.VMM), "use "+strings.Join(vmms, ", "))
	}
	return text(c.VMM), nil
}

// spec checks the flags before anything is asked of the daemon.
func (f *vmFlags) spec(cmd *cobra.Command) (vm.Spec, error) {
	s := vm.Spec{Name: string(f.name), Image: string(f.image), Kernel: vm.DefKernel, VMM: string(f.vmm)}
	fail := func(field string, err error) (vm.Spec, error) {
		return s, &usageError{&vm.FieldError{Field: field, Err: err}}
	}
	var err error
	if !cmd.Flags().Changed("vmm") {
		if f.vmm, err = defaultVMM(); err != nil {
			return s, err
		}
		s.VMM = string(f.vmm)
	}
	if s.VCPUs, err = strconv.Atoi(string(f.vcpu)); err != nil {
		return fail("vcpu", fmt.Errorf("%q is not a whole number between 1 and %d", string(f.vcpu), vm.MaxVCPUs))
	}
	if s.MemMiB, err = vm.ParseMiB(string(f.memory)); err != nil {
		return fail("memory", err)
	}
	if s.DiskMiB, err = vm.ParseMiB(string(f.disk)); err != nil {
		return fail("disk-size", err)
	}
	named := s
	if !cmd.Flags().Changed("name") {
		named.Name = "unnamed"
	}
	if err := named.Check(); err != nil {
		return s, &usageError{err}
	}
	return s, nil
}
