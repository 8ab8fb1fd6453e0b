package testhost

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// readyLine is the test host's word on its console that it takes commands.
const readyLine = "testhost-takes-commands"

const (
	defMemMiB = 8192
	// defCPUs is one: with two, which QEMU emulates on a thread each, about one
	// guest in thirty hung or reset itself before its first line where several
	// ran, and the host's own kernel panicked about once in ten minutes. It is no slower.
	defCPUs    = 1
	maxConsole = 64 << 10 // bytes of the console that are kept
	portLimit  = 20 * time.Second
)

// machine is the QEMU process of a test host.
type machine struct {
	cmd     *exec.Cmd
	console *console
	monitor io.WriteCloser
	port    chan int      // gets the forwarded port, once
	words   bytes.Buffer  // QEMU's stderr; read it after done
	done    chan struct{} // closed when QEMU ended and its output is read
	err     error
}

// start starts QEMU. Both disks are opened for reading alone: what the machine
// writes goes to a file without a name.
func start(image string, handed *os.File, o Options) (*machine, error) {
	if o.MemMiB == 0 {
		o.MemMiB = defMemMiB
	}
	if o.CPUs == 0 {
		o.CPUs = defCPUs
	}
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return nil, err
	}
	consoleR, consoleW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer consoleW.Close()
	cmd := exec.Command(qemu,
		"-nodefaults", "-no-user-config", "-display", "none", "-M", "q35,hpet=off", "-name", "banger-test-host",
		// EPYC is the model of QEMU's with the fewest surprises for kvm_amd; SVM
		// and nested paging are emulated too. A guest's XSETBV is not intercepted (QEMU
		// 7.2), so KVM does not know that it has AVX, and its kernel, which finds a wrong size,
		// does without XSAVE. Without AVX it would take XSAVE, which does not work; Firecracker
		// refuses a host that has none. So CPUID shows AVX in a guest that can't use it, but not
		// what most programs look for without asking whether the system has it (netavark).
		"-accel", "tcg,thread=multi", "-cpu", "EPYC,+svm,+npt,-avx2,-fma,-f16c",
		"-smp", strconv.Itoa(o.CPUs), "-m", strconv.Itoa(o.MemMiB),
		"-kernel", filepath.Join(image, kernelFile), "-initrd", filepath.Join(image, initrdFile),
		"-append", "root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off loglevel=5 systemd.show_status=error",
		"-drive", "if=none,id=root,format=raw,cache=unsafe,snapshot=on,file="+comma(filepath.Join(image, rootFile)),
		"-device", "virtio-blk-pci,drive=root",
		"-drive", "if=none,id=handed,format=raw,readonly=on,file=/proc/self/fd/4", // it has no name
		"-device", "virtio-blk-pci,drive=handed",
		"-device", "virtio-rng-pci",
		"-netdev", "user,id=net,hostfwd=tcp:127.0.0.1:0-10.0.2.15:22", "-device", "virtio-net-pci,netdev=net",
		// A pipe, opened by its path.
		"-chardev", "file,id=console,path=/proc/self/fd/3", "-serial", "chardev:console",
		"-monitor", "stdio")
	cmd.ExtraFiles = []*os.File{consoleW, handed} // 3, 4
	m := &machine{cmd: cmd, console: newConsole(), port: make(chan int, 1), done: make(chan struct{})}
	cmd.Stderr = &m.words
	out, err := cmd.StdoutPipe()
	if err == nil {
		m.monitor, err = cmd.StdinPipe()
	}
	if err == nil {
		diesWithUs(cmd)
		// Ctrl-C on our terminal is for us: we end QEMU.
		cmd.SysProcAttr.Setpgid = true
		err = onStarter(cmd.Start)
	}
	if err != nil {
		consoleR.Close()
		return nil, err
	}
	var reading sync.WaitGroup
	reading.Go(func() { m.console.read(consoleR) }) // ends with QEMU
	reading.Go(func() { m.readMonitor(out) })       // ends with QEMU
	go func() {                                     // ends with QEMU, which kill ends
		reading.Wait()
		m.err = cmd.Wait()
		consoleR.Close()
		close(m.done)
	}()
	return m, nil
}

// comma doubles commas, as QEMU's options want it.
func comma(s string) string { return strings.ReplaceAll(s, ",", ",,") }

var forwarding = regexp.MustCompile(`TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)`)

func (m *machine) readMonitor(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if f := forwarding.FindStringSubmatch(lines.Text()); f != nil {
			n, _ := strconv.Atoi(f[1])
			select {
			case m.port <- n:
			default:
			}
		}
	}
	io.Copy(io.Discard, out)
}

// forwardedPort asks for the port that the kernel chose.
func (m *machine) forwardedPort(ctx context.Context) (int, error) {
	if _, err := io.WriteString(m.monitor, "info usernet\n"); err != nil {
		<-m.done
		return 0, fmt.Errorf("start the test host: %s", m.said())
	}
	select {
	case n := <-m.port:
		return n, nil
	case <-m.done:
		return 0, fmt.Errorf("start the test host: %s", m.said())
	case <-time.After(portLimit):
		return 0, errors.New("ask QEMU for the forwarded port: it did not answer")
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// said is what QEMU said at its end. It is called after done.
func (m *machine) said() string { return strings.TrimSpace(fmt.Sprintf("%v %s", m.err, &m.words)) }

func (m *machine) booted(n int) <-chan struct{} { return m.console.ready(n) }
func (m *machine) boots() int                   { return m.console.boots() }

// reset resets the machine; its disk is as it last wrote it.
func (m *machine) reset() error {
	if _, err := io.WriteString(m.monitor, "system_reset\n"); err != nil {
		return fmt.Errorf("reset the test host: %w", err)
	}
	return nil
}

// kill ends QEMU and waits for it.
func (m *machine) kill() {
	m.cmd.Process.Kill()
	<-m.done
	m.monitor.Close()
}

// starter runs functions on one thread that lives as long as the process: a
// parent-death signal fires when the starting thread ends (prctl(2)), and Go
// ends threads as it likes. Nothing ends the goroutine.
var starter = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

func onStarter(start func() error) error {
	done := make(chan error)
	starter() <- func() { done <- start() }
	return <-done
}

// diesWithUs has cmd killed when this process ends. It is started by onStarter.
func diesWithUs(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

func runOnStarter(cmd *exec.Cmd) error {
	if err := onStarter(cmd.Start); err != nil {
		return err
	}
	return cmd.Wait()
}
