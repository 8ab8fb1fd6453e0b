package kvm

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
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
		usable  bool
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
		{"a container", failing(syscall.EPERM), intel, false, "--device /dev/kvm", "usermod"},
		{"odd", failing(syscall.EBUSY), intel, false, "busy", ""},
		{"odder", errors.New("x"), amd, false, "(x)", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := decide(c.open, "kvm", c.cpu)
			if why := f.String(); f.Usable != c.usable || !strings.Contains(why, c.inWhy) || c.without != "" && strings.Contains(why, c.without) {
				t.Errorf("decide(%v, %q) = %+v; want usable %v, with %q and without %q", c.open, c.cpu, f, c.usable, c.inWhy, c.without)
			}
		})
	}
}

func TestNoGroupHasRights(t *testing.T) {
	f := decide(&os.PathError{Op: "open", Path: Device, Err: syscall.EACCES}, "", "flags : vmx hypervisor")
	if !strings.Contains(f.Fix, "chgrp kvm /dev/kvm && sudo chmod g+rw") || !f.Guest {
		t.Errorf("decide without a group = %+v, want how to give one rights, in a guest", f)
	}
}

func TestLook(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"kvm": "", "cpuinfo": "flags : fpu svm\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if f := Look(filepath.Join(dir, "kvm"), dir); !f.Usable || f.Guest {
		t.Errorf("Look = %+v, want it usable", f)
	}
	if f := Look(filepath.Join(dir, "none"), dir); f.Usable || !strings.Contains(f.Fix, "modprobe") {
		t.Errorf("Look without a device = %+v, want it unusable and modprobe", f)
	}
	if f := Look(filepath.Join(dir, "kvm"), dir+"/none"); f.Usable {
		t.Errorf("Look without cpuinfo = %+v, want it unusable", f)
	}
}

func TestNested(t *testing.T) {
	for text, want := range map[string]bool{"Y\n": true, "1\n": true, "N\n": false, "0\n": false} {
		sys := t.TempDir()
		dir := filepath.Join(sys, "module/kvm_amd/parameters")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "nested"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if nested, known := Nested(sys); nested != want || !known {
			t.Errorf("Nested of %q = %v, %v; want %v", text, nested, known, want)
		}
	}
	if nested, known := Nested(t.TempDir()); nested || known {
		t.Errorf("Nested without KVM = %v, %v", nested, known)
	}
}
