package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"banger/internal/vm"
)

// vmFlags are the flags that say what a VM is.
type vmFlags struct {
	name, image, vmm  string
	vcpu              int
	memory, disk      string
	quiet, json       bool
	hostMiB           int64
	defaultMem, defDk string
}

func (f *vmFlags) add(cmd *cobra.Command) {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) == nil {
		f.hostMiB = int64(uint64(si.Totalram) * uint64(si.Unit) >> 20)
	}
	def := vm.Defaults(runtime.NumCPU(), f.hostMiB)
	f.defaultMem, f.defDk = vm.FormatMiB(def.MemMiB), vm.FormatMiB(def.DiskMiB)
	fs := cmd.Flags()
	fs.StringVar(&f.name, "name", "", "name, also the host name: 1 to 63 of a-z, 0-9 and hyphen (default: one is made)")
	fs.StringVar(&f.image, "image", def.Image, "base image")
	fs.IntVar(&f.vcpu, "vcpu", def.VCPUs, fmt.Sprintf("virtual CPUs, 1 to %d", vm.MaxVCPUs))
	fs.StringVar(&f.memory, "memory", f.defaultMem, "memory, as 512M or 4G; a bare number is MiB")
	fs.StringVar(&f.disk, "disk-size", f.defDk, "size of its sparse disk, as 8G")
	fs.StringVar(&f.vmm, "vmm", def.VMM, "virtual machine monitor: auto, firecracker or qemu")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "no progress and no notices")
}

// spec checks the flags before anything is asked of the daemon.
func (f *vmFlags) spec(cmd *cobra.Command) (vm.Spec, error) {
	s := vm.Spec{Name: f.name, Image: f.image, Kernel: vm.DefKernel, VCPUs: f.vcpu, VMM: f.vmm}
	var err error
	if s.MemMiB, err = vm.ParseMiB(f.memory); err != nil {
		return s, &usageError{&vm.FieldError{Field: "memory", Err: err}}
	}
	if s.DiskMiB, err = vm.ParseMiB(f.disk); err != nil {
		return s, &usageError{&vm.FieldError{Field: "disk-size", Err: err}}
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
