package kvm

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestDecide(t *testing.T) {
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
		ok      bool
		inWhy   string
		without string
	}{
		{"intel", nil, intel, true, "hardware", "can't"},
		{"amd", nil, amd, true, "hardware", "can't"},
		{"opens without flags", nil, plain, false, "neither vmx nor svm, so it can't run a stock kernel", "usermod"},
		{"opens, cpuinfo unreadable", nil, "", false, "neither vmx nor svm", ""},
		{"absent", failing(fs.ErrNotExist), plain, false, "this host has no KVM", "modprobe"},
		{"absent, module not loaded", failing(syscall.ENOENT), amd, false, "sudo modprobe", ""},
		{"no device behind it", failing(syscall.ENODEV), intel, false, "sudo modprobe", ""},
		{"no rights", failing(syscall.EACCES), intel, false, "sudo usermod -aG kvm $USER", ""},
		{"no rights, no use", failing(syscall.EPERM), plain, false, "neither vmx nor svm", "usermod"},
		{"odd", failing(syscall.EBUSY), intel, false, "busy", ""},
		{"odder", errors.New("x"), "", false, "(x)", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			ok, why := decide(c.open, []byte(c.cpu))
			if ok != c.ok || !strings.Contains(why, c.inWhy) || c.without != "" && strings.Contains(why, c.without) {
				t.Errorf("decide(%v, %q) = %v, %q; want %v with %q and without %q", c.open, c.cpu, ok, why, c.ok, c.inWhy, c.without)
			}
		})
	}
}
