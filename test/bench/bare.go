package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/channel"
	"banger/internal/channel/control"
	frame "banger/internal/channel/exec"
)

// bare is a VMM with what banger gives it, started by nothing but fork and exec.
type bare struct {
	cmd     *exec.Cmd
	carrier channel.Carrier
	raw     net.Conn // the extra port, where one was asked for
	joined  time.Duration
	said    []byte // the last command's stdout
	ends    []io.Closer
}

// bootLimit bounds one bare boot.
const bootLimit = 2 * time.Minute

// Descriptors of QEMU, as package vmm/qemu has them.
const (
	fdQMP = 3 + iota
	fdConsole
	fdControl
	fdStreams
	fdRaw
)

// rawPort matches the device of the extra port in the guest: the first number
// is the bus's, the other the port's.
const rawPort = "/dev/vport*p3"

// model is how banger started the measured VM.
type model struct {
	argv []string // of the VMM
	// order is what the supervisor was told.
	order struct {
		VCPUs  int    `json:"vcpus"`
		MemMiB int64  `json:"mem_mib"`
		Kernel string `json:"kernel"`
		Initrd string `json:"initrd"`
		Disks  []struct {
			Path     string `json:"path"`
			ReadOnly bool   `json:"read_only"`
		} `json:"disks"`
	}
}

// readModel reads it of a VM that runs.
func readModel(v shown) (m model, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", v.VMM.PID))
	if err != nil {
		return m, err
	}
	m.argv = strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	if text, err = os.ReadFile(filepath.Join(v.Dir, "launch.json")); err != nil {
		return m, err
	}
	return m, json.Unmarshal(text, &m.order)
}

// bareArgs are the arguments of the QEMU that banger started, with another data
// disk.
func (x *b) bareArgs(disk string) []string {
	var args []string
	for _, word := range x.model.argv {
		args = append(args, strings.ReplaceAll(word, filepath.Join(x.vm.Dir, "disk"), disk))
	}
	return args
}

// startQEMU boots args and returns when the agent reports the root joined. With
// extra there is one more port, for raw bytes.
func startQEMU(args []string, extra bool) (_ *bare, err error) {
	m := &bare{}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	fds := fdStreams
	if extra {
		fds = fdRaw
		for i := range args {
			args[i] = strings.Replace(args[i], "max_ports=3", "max_ports=4", 1)
		}
		args = append(args, "-chardev", fmt.Sprintf("socket,id=raw,fd=%d", fdRaw), "-device", "virtserialport,bus=ports.0,nr=3,chardev=raw,name=bench.raw")
	}
	var ours []net.Conn
	m.cmd = exec.Command(args[0], args[1:]...)
	for range fds - fdQMP + 1 {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		f := os.NewFile(uintptr(pair[0]), "ours")
		c, err := net.FileConn(f)
		f.Close()
		theirs := os.NewFile(uintptr(pair[1]), "theirs")
		defer theirs.Close()
		if err != nil {
			return nil, err
		}
		m.ends = append(m.ends, c)
		ours = append(ours, c)
		m.cmd.ExtraFiles = append(m.cmd.ExtraFiles, theirs)
	}
	m.cmd.Stderr = os.Stderr
	begin := time.Now()
	if err := m.cmd.Start(); err != nil {
		return nil, err
	}
	for _, c := range ours[:2] { // QMP and the console: nobody listens
		go io.Copy(io.Discard, c) // ends with QEMU, see close
	}
	m.carrier = channel.NewSerialCarrier(ours[fdControl-fdQMP].(*net.UnixConn), ours[fdStreams-fdQMP].(*net.UnixConn))
	if extra {
		m.raw = ours[fdRaw-fdQMP]
	}
	return m, m.join(begin)
}

// join makes the guest somebody, which was started at begin.
func (m *bare) join(begin time.Time) error {
	ctx, cancel := context.WithTimeout(context.Background(), bootLimit)
	defer cancel()
	if _, err := m.carrier.Hello(ctx); err != nil {
		return err
	}
	id := control.Identity{Hostname: "bare", MachineID: strings.Repeat("ab", 16), UnixNano: time.Now().UnixNano(), Entropy: make([]byte, 64)}
	rand.Read(id.Entropy)
	guest := control.NewClient(func(ctx context.Context) (net.Conn, error) { return m.carrier.Dial(ctx, channel.PortControl) })
	_, err := guest.Identity(ctx, id)
	m.joined = time.Since(begin)
	return err
}

func (m *bare) close() {
	if m.cmd != nil && m.cmd.Process != nil {
		m.cmd.Process.Kill()
		m.cmd.Wait()
	}
	if m.carrier != nil {
		m.carrier.Close()
	}
	for _, c := range m.ends {
		c.Close()
	}
}

// run runs a command in the guest and waits for its end; started is called when
// it says "go".
func (m *bare) run(started func() error, argv ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), bootLimit)
	defer cancel()
	s, err := m.carrier.Dial(ctx, channel.PortExec)
	if err != nil {
		return err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { s.Close() })()
	w, r := frame.NewWriter(s), frame.NewReader(s)
	if err := w.WriteRequest(frame.Request{Argv: frame.Args(argv...)}); err != nil {
		return err
	}
	var words []byte
	m.said = nil
	for {
		t, p, err := r.Next()
		if err != nil {
			return errors.Join(ctx.Err(), err)
		}
		switch t {
		case frame.TypeStdout:
			m.said = append(m.said, p...)
			if bytes.Contains(p, []byte("go")) {
				if err := started(); err != nil {
					return err
				}
			}
		case frame.TypeStderr:
			words = append(words, p...)
		case frame.TypeExit:
			status, err := frame.ParseStatus(p)
			if err == nil && status.ExitCode() != 0 {
				err = fmt.Errorf("%q ended with %d: %s", argv, status.ExitCode(), words)
			}
			return err
		}
	}
}

// freshDisk copies the measured VM's data disk as it was before its first start.
func (x *b) freshDisk(name string) (string, error) {
	path := filepath.Join(x.dir, name+".ext4")
	return path, copySparsely(filepath.Join(x.dir, freshFile), path)
}
