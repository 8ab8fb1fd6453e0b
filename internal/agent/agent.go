package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/agent/command"
	"banger/internal/agent/hostconfig"
	"banger/internal/agent/network"
	"banger/internal/agent/root"
	"banger/internal/agent/ssh"
	"banger/internal/channel"
	"banger/internal/channel/control"
)

// channelLimit bounds the wait for the channel's devices.
const channelLimit = 20 * time.Second

// wordsFD is the agent's end of the pair that PID 1 made.
const wordsFD = 3

// agent answers the host for as long as the guest lives.
type agent struct {
	release string // uname -r

	mu     sync.Mutex
	words  *os.File // to PID 1; nil when it was told to go
	held   bool     // the init waits, see Identity.HoldInit
	ready  *control.Ready
	init   string   // path of the image's init, "" where the agent's PID 1 stays
	lock   *os.File // agentLock; nil before the root is joined
	ending bool

	execs  net.Listener
	flows  net.Listener
	exec   command.Service
	sshs   net.Listener // nil once it is served
	ssh    ssh.Service
	memory *memory
	disk   *disk
	diag   func() error // loads what lists sockets, once

	network atomic.Pointer[network.Network] // nil without one
}

// serve is the long-lived agent. again says that there was one before it in this
// guest.
func serve(again bool) error {
	// The guest's memory is the user's: collect early, and give back.
	debug.SetGCPercent(30)
	debug.SetMemoryLimit(24 << 20)
	// First to get the CPU, last to be killed.
	setNice(agentNice)
	os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)

	a := &agent{exec: command.Service{Agent: []string{programName}}, memory: newMemory(), disk: newDisk()}
	a.exec.Hear, a.exec.AgentDone = a.hearTime, a.letGo
	a.ssh.Command = &a.exec
	a.diag = sync.OnceValue(func() error { return network.LoadDiag(a.modules()) })
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return err
	}
	a.release = unix.ByteSliceToString(uts.Release[:])
	if again {
		a.resume()
	} else {
		a.words = os.NewFile(wordsFD, "words")
	}
	ctx, cancel := context.WithTimeout(context.Background(), channelLimit)
	defer cancel()
	guest, err := channel.OpenGuest(ctx)
	if err != nil {
		return err
	}
	controls, err := listen(ctx, guest, channel.PortControl)
	if err != nil {
		return err
	}
	if a.execs, err = listen(ctx, guest, channel.PortExec); err != nil {
		return err
	}
	if a.flows, err = listen(ctx, guest, channel.PortFlow); err != nil {
		return err
	}
	if a.sshs, err = listen(ctx, guest, channel.PortSSH); err != nil {
		return err
	}
	go func() { // ends with the guest, or an error
		err := watchKernel(func(record []byte) {
			a.memory.hear(record)
			a.disk.hear(record)
		})
		if err != nil {
			say("read the kernel's log: %v", err)
		}
	}()
	err = guest.Hello(context.Background(), channel.Hello{
		Protocol: channel.Protocol, Agent: version(), Kernel: a.release, BootID: bootID(),
	})
	if err != nil && !again { // on vsock nobody hears a second one: the host asks for the first answer
		return err
	}
	if again {
		go a.exec.Serve(a.execs) // ends with the agent
		a.connect(network.Resume)
		finishHostConfig(&hostconfig.Boot{Root: "/"}) // if the agent before this one has not
	}
	return control.Serve(controls, a)
}

// agentNice is the agent's nice value.
const agentNice = -10

// setNice sets the nice value of this process. It is a thread's (setpriority(2)), and a
// new thread has that of the one that makes it: Go's runtime has made some already.
func setNice(nice int) {
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, t := range tasks {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			unix.Setpriority(unix.PRIO_PROCESS, tid, nice)
		}
	}
}

// listen takes a port, which an agent before this one may have for a moment more.
func listen(ctx context.Context, g channel.Guest, port uint32) (net.Listener, error) {
	for {
		l, err := g.Listen(port)
		if !errors.Is(err, unix.EADDRINUSE) || ctx.Err() != nil {
			return l, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// bootID is this boot's of the guest (random(4)).
func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text))
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return fmt.Sprintf("%.60s", info.Main.Version)
	}
	return ""
}

// Identity joins the root and makes the guest somebody. A second call answers
// as the first.
func (a *agent) Identity(_ context.Context, id control.Identity) (control.Ready, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ready != nil {
		a.serveSSH(id.SSH)
		return *a.ready, nil
	}
	if a.words == nil {
		return control.Ready{}, errors.New("joining the root went wrong before")
	}
	if id.Bare {
		a.ready = &control.Ready{UptimeMillis: uptimeMillis(), BootID: bootID()}
		go a.exec.Serve(a.execs) // ends with the guest
		return *a.ready, nil
	}
	err := a.join(id)
	if err != nil {
		say("%v", err)
		return control.Ready{}, err
	}
	a.ready = &control.Ready{UptimeMillis: uptimeMillis(), Init: a.init, BootID: bootID()}
	a.ready.Disk, _ = a.disk.last()
	go a.exec.Serve(a.execs) // ends with the agent
	a.serveSSH(id.SSH)
	go debug.FreeOSMemory() // ends by itself
	if id.HoldInit && a.init != "" {
		a.held = true
		_, err := io.WriteString(a.words, wordHold+" "+a.init+"\n")
		time.AfterFunc(holdLimit, a.letGo)
		return *a.ready, err
	}
	return *a.ready, a.handOver()
}

// holdLimit bounds how long the image's init waits for a copy.
const holdLimit = 3 * time.Second

// letGo begins the image's init, if it was held.
func (a *agent) letGo() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.held {
		return
	}
	if err := a.handOver(); err != nil {
		say("start %s: %v", a.init, err)
	}
}

// handOver tells PID 1 to become the image's init, or to stay. The caller holds mu.
func (a *agent) handOver() error {
	_, err := io.WriteString(a.words, strings.TrimSpace(wordGo+" "+a.init)+"\n")
	a.words.Close()
	a.words, a.held = nil, false
	return err
}

// serveSSH answers SSH clients with the keys given, from now on; nil changes nothing. The
// caller holds mu.
func (a *agent) serveSSH(keys *control.SSH) {
	if keys == nil {
		return
	}
	if err := a.ssh.Identify(keys.HostKey, keys.Clients); err != nil {
		say("%v", err)
		return
	}
	if a.sshs != nil {
		go a.ssh.Serve(a.sshs) // ends with the agent
		a.sshs = nil
	}
}

func (a *agent) join(id control.Identity) error {
	if id.UnixNano > 0 { // first: it was true when it was sent
		if err := setTime(id.UnixNano); err != nil {
			return err
		}
	}
	state, err := joinRoot(id.Repair)
	if err != nil {
		return err
	}
	a.disk.set(state)
	if err := become(id, newRoot); err != nil {
		return err
	}
	// The working directory moves with the root; PID 1 moves it.
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if _, err := io.WriteString(a.words, wordMove+"\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(a.words).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != wordMoved {
		return fmt.Errorf("move the root: PID 1 says %q: %w", line, err)
	}
	if err := enterRoot(); err != nil {
		return err
	}
	if err := mountModules(a.release); err != nil {
		return err
	}
	// The first command may run before the init has done anything. A guest that
	// lacks this is still of use.
	if err := errors.Join(loopbackUp(), keepTemporary("/"), prepareUserManager(), makeNodes("/", a.release), preventThrashing()); err != nil {
		say("prepare for the first command: %v", err)
	}
	if err := takeHostConfig(id.Network); err != nil {
		say("configure as the host is: %v", err)
	}
	if id.Network != nil {
		a.connect(func(o network.Options) (*network.Network, error) {
			o.IPv6 = id.Network.IPv6
			return network.Start(o)
		})
	}
	if !id.NoInit {
		a.init = findInit()
	}
	if err := enterCgroup(); err != nil {
		say("enter a control group: %v", err)
	}
	a.exec.Groups = openGroups()
	if a.lock, err = lockAgent(); err == nil {
		err = keepAgent("/", a.init)
	}
	if err == nil && a.init != "" {
		err = keepEarly()
	}
	if err != nil {
		say("prepare for the agent's end: %v", err)
	}
	return nil
}

// modules is the directory of the kernel's modules.
func (a *agent) modules() string { return filepath.Join("/", modulesParent("/"), a.release) }

// connect gives the guest its network. A guest without one is of use.
func (a *agent) connect(start func(network.Options) (*network.Network, error)) {
	n, err := start(network.Options{Modules: a.modules(), Say: say})
	if err != nil {
		say("there is no network: %v", err)
		return
	}
	if n != nil {
		a.network.Store(n)
		go n.Serve(a.flows) // ends with the agent
	}
}

// takeHostConfig writes what the host's package clients are configured with, and its
// administrator's certificates, into the guest. A guest without a network gets none, and
// gives back what it had.
func takeHostConfig(n *control.Network) error {
	b := &hostconfig.Boot{Root: "/"}
	if n != nil {
		b.Text = n.Host
	}
	notes, err := b.Apply()
	for _, n := range notes {
		say("%s", n)
	}
	finishHostConfig(b)
	return err
}

// finishPause is from the root's joining until what the first command does not need is done.
const finishPause = time.Second

// finishHostConfig has the rest of takeHostConfig done later.
func finishHostConfig(b *hostconfig.Boot) {
	time.AfterFunc(finishPause, func() {
		if err := b.Finish(); err != nil {
			say("%v", err)
		}
		debug.FreeOSMemory() // a bundle's, decoded
	})
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil // a kernel without IPv4 has no loopback to bring up
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

func uptimeMillis() int64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return ts.Nano() / int64(time.Millisecond)
}

// Health says how the guest is.
func (a *agent) Health(context.Context) (control.Health, error) {
	h := control.Health{UptimeMillis: uptimeMillis(), Init: a.initKind(), ExecProcesses: a.exec.Running()}
	mem := procFields("/proc/meminfo")
	h.MemTotalKiB, h.MemFreeKiB = mem["MemTotal:"], mem["MemAvailable:"]
	h.AgentRSSKiB = procFields("/proc/self/status")["VmRSS:"]
	var st unix.Statfs_t
	if err := unix.Statfs("/", &st); err == nil {
		h.DiskTotalKiB, h.DiskFreeKiB = int64(st.Blocks)*st.Bsize/1024, int64(st.Bavail)*st.Bsize/1024
	}
	return h, nil
}

// procFields reads "Name: number kB" lines.
func procFields(path string) map[string]int64 {
	text, _ := os.ReadFile(path)
	out := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 2 {
			out[f[0]], _ = strconv.ParseInt(f[1], 10, 64)
		}
	}
	return out
}

// Sync puts all file systems on their disks.
func (a *agent) Sync(context.Context) error {
	unix.Sync()
	return nil
}

// Grow makes the root as large as its disk.
func (a *agent) Grow(ctx context.Context, g control.Grow) error {
	if err := root.AwaitSize(ctx, diskDev, g.Bytes); err != nil {
		return err
	}
	a.mu.Lock() // one at a time
	defer a.mu.Unlock()
	if a.ready == nil {
		return errors.New("the root is not joined")
	}
	return root.Grow(diskDev, baseDev, "/")
}

// Measure times the guest's fork and exec.
func (a *agent) Measure(ctx context.Context) (control.Measure, error) {
	nanos, err := a.exec.Measure(ctx)
	return control.Measure{ForkExecNanos: nanos}, err
}
