package firecracker

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"banger/internal/kvm"
	"banger/internal/vm"
	"banger/internal/vmm"
)

// fakePrefix begins the name of a program in Firecracker's place, for what a
// real one does not do on order. What follows is words: what it does, and
// where.
const fakePrefix = "fake-firecracker-"

// fake returns a driver whose Firecracker behaves so, on a host with KVM.
func fake(t *testing.T, behaviour string) *Driver {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// A copy: Landlock lets it execute what it was started as.
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), fakePrefix+behaviour)
	if err := os.WriteFile(path, text, 0o700); err != nil {
		t.Fatal(err)
	}
	d := New(Config{Launcher: program, Binary: path})
	d.kvm = func() kvm.Finding { return kvm.Finding{Usable: true, Why: "the test says so"} }
	return d
}

// machineSpec is a machine that no fake reads a file of.
func machineSpec(t *testing.T) vmm.Spec {
	t.Helper()
	dir := t.TempDir()
	s := vmm.Spec{
		ID: vm.NewID(), Dir: filepath.Join(dir, "vm"), RunDir: filepath.Join(dir, "run"),
		VCPUs: 2, MemMiB: 512, Kernel: filepath.Join(dir, "vmlinux"), Initrd: filepath.Join(dir, "initrd.cpio"), Cmdline: "loglevel=4",
		Disks: []vmm.Disk{{Path: filepath.Join(dir, "base"), ReadOnly: true}, {Path: filepath.Join(dir, "data")}},
	}
	for _, d := range []string{s.Dir, s.RunDir} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{s.Kernel, s.Initrd, s.Disks[0].Path, s.Disks[1].Path} {
		if err := os.WriteFile(f, make([]byte, 512), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// fakeMain is the fake. It ends by itself after a minute, and without what Go
// would say of coverage at an end.
func fakeMain(behaviour string) {
	time.AfterFunc(time.Minute, func() { syscall.Exit(99) })
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Printf("Firecracker v1.16.1\n\n2026-01-31T12:00:00.000000000 [anonymous-instance:main] Firecracker exiting successfully. exit_code=0\n")
		syscall.Exit(0)
	}
	what, where, _ := strings.Cut(behaviour, "-at-")
	log := os.NewFile(fdLog, "log")
	say := func(text string) {
		fmt.Fprintf(log, "2026-01-31T12:00:00.000000000 [ID:main] %s\n", text)
	}
	if what == "silent" {
		select {}
	}
	l, err := net.Listen("unix", fileAPI)
	if err != nil {
		say(err.Error())
		syscall.Exit(1)
	}
	http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.HasPrefix(r.URL.Path, "/"+where) && where != "" {
			switch what {
			case "dies":
				say("died of " + r.URL.Path)
				syscall.Exit(3)
			case "refuses":
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprintf(w, `{"fault_message": "no %s today"}`, where)
				return
			case "floods":
				w.WriteHeader(http.StatusBadRequest)
				for {
					if _, err := w.Write(make([]byte, 64<<10)); err != nil {
						return
					}
				}
			case "hangs":
				select {}
			}
		}
		if what == "records" {
			say(r.Method + " " + r.URL.Path + " " + string(body))
		}
		if r.URL.Path == "/vsock" { // as the real one does
			l, err := net.Listen("unix", fileVsock)
			if err != nil {
				say(err.Error())
				syscall.Exit(1)
			}
			go guestAnswers(l, what) // ends with the process
		}
		w.WriteHeader(http.StatusNoContent)
		if r.URL.Path == "/actions" {
			time.AfterFunc(10*time.Millisecond, func() { guestRuns(what) })
		}
	}))
}

// guestRuns is what the fake does after it was told to start the guest.
func guestRuns(what string) {
	switch what {
	case "records":
		syscall.Exit(0)
	case "halts":
		fmt.Print("[    1.0] reboot: System halted\r\n")
	case "lies": // the console says so, and the guest lives
		fmt.Print("[    1.0] reboot: System halted\r\n")
	}
}

// guestAnswers answers the host's streams, if what lives.
func guestAnswers(l net.Listener, what string) {
	for {
		c, err := l.Accept()
		if err != nil {
			syscall.Exit(1)
		}
		bufio.NewReader(c).ReadString('\n')
		if what == "lies" || what == "stays" {
			fmt.Fprint(c, "OK 1\n")
		}
		c.Close()
		fmt.Print("asked\n")
	}
}
