package qemu

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestChooseAccel(t *testing.T) {
	failing := func(err error) error { return &os.PathError{Op: "open", Path: "/dev/kvm", Err: err} }
	const (
		intel = "processor\t: 0\nflags\t\t: fpu vme vmx sse2\nvmx flags\t: vnmi\n\nprocessor\t: 1\nflags\t\t: fpu\n"
		amd   = "flags : fpu svm\n"
		// A guest's CPU that has neither, and words that only look like it.
		plain = "model name\t: vmx svm\nflags\t\t: fpu svm_lock vmxnet\nvmx flags\t: vmx\n"
	)
	for _, c := range []struct {
		name    string
		open    error
		cpu     string
		accel   string
		inWhy   string
		without string
	}{
		{"intel", nil, intel, "kvm", "hardware", "can't"},
		{"amd", nil, amd, "kvm", "hardware", "can't"},
		{"opens without flags", nil, plain, "tcg", "neither vmx nor svm, so it can't run a stock kernel", "usermod"},
		{"opens, cpuinfo unreadable", nil, "", "tcg", "neither vmx nor svm", ""},
		{"absent", failing(fs.ErrNotExist), plain, "tcg", "this host has no KVM", "modprobe"},
		{"absent, module not loaded", failing(syscall.ENOENT), amd, "tcg", "sudo modprobe", ""},
		{"no device behind it", failing(syscall.ENODEV), intel, "tcg", "sudo modprobe", ""},
		{"no rights", failing(syscall.EACCES), intel, "tcg", "sudo usermod -aG kvm $USER", ""},
		{"no rights, no use", failing(syscall.EPERM), plain, "tcg", "neither vmx nor svm", "usermod"},
		{"odd", failing(syscall.EBUSY), intel, "tcg", "busy", ""},
		{"odder", errors.New("x"), "", "tcg", "(x)", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			accel, why := chooseAccel(c.open, []byte(c.cpu))
			if accel != c.accel || !strings.Contains(why, c.inWhy) || c.without != "" && strings.Contains(why, c.without) {
				t.Errorf("chooseAccel(%v, %q) = %q, %q; want %q with %q and without %q", c.open, c.cpu, accel, why, c.accel, c.inWhy, c.without)
			}
		})
	}
}
