package standin

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/agent/command"
	"banger/internal/channel"
	"banger/internal/channel/control"
	"banger/internal/vmm"
)

// Signals to the guest's process: of its VMM's end, and of its own commands.
const (
	powerCut       = syscall.SIGPWR
	signalReset    = syscall.SIGUSR1
	signalShutdown = syscall.SIGUSR2
	signalPanic    = syscall.SIGABRT
	signalFill     = syscall.SIGXFSZ
)

// panicText is how a kernel begins its last words (kernel/panic.c).
const panicText = "Kernel panic - not syncing: "

// services are what a guest answers on its ports, and what it says it is.
type services struct {
	agent string
	// open prepares the guest and returns what serves each port.
	open func(*guest) (map[uint32]func(net.Listener), error)
}

// guest is the guest's process.
type guest struct {
	spec   vmm.Spec
	begin  time.Time
	status *os.File
	exec   command.Service

	held atomic.Bool // since a write that the host's disk did not take

	end sync.Mutex // held by whoever ends the process, and never let go

	mu        sync.Mutex
	behaviour Behaviour // as last read
	ports     map[uint32]*port
	ready     *control.Ready
	ending    bool
}

// live is the guest's life. It returns only with an error.
func live(o order, s services) error {
	unix.CloseOnExec(fdStatus)
	g := &guest{spec: o.Spec, begin: time.Now(), status: os.NewFile(fdStatus, "status")}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the parent of commands' orphans: %w", err)
	}
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, powerCut, signalReset, signalShutdown, signalPanic, signalFill)
	if os.Getppid() != o.VMM {
		return errors.New("the VMM has ended")
	}
	l, err := net.Listen("unix", fileVsock)
	if err != nil {
		return err
	}
	go g.answer(l) // ends with the process
	if _, err := fmt.Fprintln(g.status, statusUp); err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { // ends with the boot, or the process
		if err := g.boot(s); err != nil {
			failed <- err
		}
	}()
	for {
		select {
		case err := <-failed:
			return err
		case sig := <-heard:
			go g.hear(sig.(syscall.Signal)) // ends by itself, or ends the process
		}
	}
}

// hear does what a signal is for.
func (g *guest) hear(sig syscall.Signal) {
	switch sig {
	case powerCut:
		killAll() // without g.end: a guest that is ending may wait for something
		syscall.Exit(1)
	case signalReset:
		g.leave(endReset, "reboot: Restarting system")
	case signalShutdown:
		g.leave(endShutdown, "reboot: Power down")
	case signalPanic:
		g.panic("sysrq triggered crash")
	case signalFill:
		g.held.Store(true)
		fmt.Fprintln(g.status, statusHeld)
	}
}

// boot says on the console what a kernel does, and hello, and then serves.
func (g *guest) boot(s services) error {
	b := g.now()
	g.print("Linux version 0.0.0-%s (banger's stand-in: there is no kernel)", Name)
	g.print("Command line: console=ttyS0 %s", g.spec.Cmdline)
	for line := strings.Repeat("x", 1000); b.ConsoleBytes > 0; b.ConsoleBytes -= int64(len(line)) {
		g.print("%s", line)
	}
	if b.Panic != "" {
		g.panic(b.Panic)
	}
	<-time.After(b.helloDelay())
	if b.NoHello {
		return nil
	}
	serve, err := s.open(g)
	if err != nil {
		return err
	}
	ports := map[uint32]*port{}
	for number, f := range serve {
		ports[number] = newPort(number)
		go f(ports[number]) // ends with the process
	}
	g.mu.Lock()
	g.ports = ports
	g.mu.Unlock()
	return g.hello(s.agent)
}

func (g *guest) hello(agent string) error {
	id, err := os.ReadFile("/proc/sys/kernel/random/uuid")
	if err != nil {
		return err
	}
	text, err := json.Marshal(channel.Hello{
		Protocol: cmp.Or(g.now().Protocol, channel.Protocol), Agent: agent, Kernel: Name, BootID: strings.TrimSpace(string(id)),
	})
	if err != nil {
		return err
	}
	c, err := net.Dial("unix", fileHello)
	if err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	_, err = c.Write(text)
	return errors.Join(err, c.Close())
}

// leave ends commands, guest and VMM, of which what is Exit.Guest.
func (g *guest) leave(what, line string) {
	g.end.Lock() // for good
	killAll()
	g.print("%s", line)
	fmt.Fprintln(g.status, what)
	syscall.Exit(g.now().ExitStatus)
}

// panic ends the guest as panic=-1 on a kernel's command line does.
func (g *guest) panic(why string) { g.leave(endReset, panicText+why) }

// print puts a line on the console, with the time as the kernel has it.
func (g *guest) print(format string, args ...any) {
	fmt.Printf("[%12.6f] %s\r\n", time.Since(g.begin).Seconds(), fmt.Sprintf(format, args...))
}

// now is the behaviour at this moment. A file that can't be read changes
// nothing.
func (g *guest) now() Behaviour {
	b, err := load(g.spec.Dir)
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		g.behaviour = b
	}
	return g.behaviour
}
