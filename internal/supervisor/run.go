package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"banger/internal/channel"
	"banger/internal/channel/control"
	"banger/internal/fault"
	"banger/internal/paths"
	"banger/internal/process"
	"banger/internal/vm"
	"banger/internal/vmm"
)

// run is one run of a VM.
type run struct {
	board
	order   Order
	drivers vmm.Drivers
	log     *slog.Logger
	console *consoleLog

	requests chan request  // to the goroutine in live
	over     chan struct{} // closed when it takes no more
	machine  atomic.Pointer[vmm.Machine]
	network  atomic.Pointer[network]
	listens  atomic.Pointer[control.Ports] // in the guest; nil before its agent has said it
	streams  atomic.Int64                  // open ones to the guest's services, of this VM's clients
}

// Run reads the order in dir, brings the VM up on one of drivers, answers on l,
// and returns when the VMM is gone and that is written down. The end of ctx asks
// for a graceful stop.
func Run(ctx context.Context, drivers vmm.Drivers, dir string, l *net.UnixListener) error {
	order, err := ReadOrder(dir)
	if err != nil {
		return err
	}
	order.Cmdline = guestCmdline
	self, err := process.Self()
	if err != nil {
		return err
	}
	console, err := openConsoleLog(filepath.Join(dir, paths.ConsoleFile))
	if err != nil {
		return fmt.Errorf("open console log: %w", err)
	}
	defer console.Close()
	r := &run{
		board: board{
			status:  Status{Protocol: Protocol, ID: order.ID, Phase: Launching, Supervisor: self},
			changed: make(chan struct{}),
		},
		order: order, drivers: drivers, console: console,
		log:      slog.With("vm", order.ID, "op", order.Op),
		requests: make(chan request), over: make(chan struct{}),
	}
	door := openDoor(r.handler(), dir, l)
	guarding := make(chan struct{})
	go func() { // ends with the run
		defer close(guarding)
		door.keep(r.over, r.log)
	}()
	defer context.AfterFunc(ctx, func() {
		r.log.Info("asked to end by a signal")
		r.post(context.Background(), request{stop: &Stop{host: true}})
	})()

	how := "started"
	if order.NoInit {
		how = "started without its services"
	}
	fmt.Fprintf(console, "-- banger: %s %s %s\n", order.Name, how, time.Now().UTC().Format(time.RFC3339))
	ending, failed := r.live()
	close(r.over)
	last, _ := r.now()
	end := Status{
		Protocol: Protocol, ID: order.ID, Phase: Gone, Supervisor: self, Ending: &ending, Failed: failed,
		Gaps: last.Gaps, BootID: last.BootID, OutOfMemory: last.OutOfMemory, Disk: last.Disk,
	}
	err = writeEnding(dir, end)
	console.Close()
	r.update(func(s *Status) { *s = end })
	r.log.Info("run ended", "cause", ending.Cause, "detail", ending.Detail, "forced", ending.Forced)
	<-guarding
	door.close() // whoever follows the events has heard the end, written down or not
	return errors.Join(err, fault.Do("end.sockets", func() error { return os.RemoveAll(RunDir(dir)) }))
}

// live brings the guest up, waits for a request or the VMM's end, and brings the
// guest down. It returns when the VMM is gone; failed says that the guest never
// was ready. Its goroutine owns the run: it alone moves the phase.
func (r *run) live() (ending vm.Ending, failed bool) {
	limit := bootLimitKVM
	if r.order.Emulated() {
		limit = bootLimitEmulated
	}
	if r.order.Repair {
		limit = repairLimit
	}
	up, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	before := oomKills()
	m, early := r.launch(up)
	if m == nil {
		return *early, true
	}
	stop := r.attend(m)
	defer stop()
	if early := r.bringUp(up, m); early != nil {
		stop()
		r.explainBoot(early)
		return *early, true
	}
	select {
	case <-m.Done():
		stop() // for the console's last lines
		return r.guestEnded(m.Exit(), oomKills() > before), false
	case q := <-r.requests:
		q.reply <- nil
		return r.end(m, q), false
	}
}

// guestCmdline is what every guest gets beside the driver's own arguments:
// loglevel 4 keeps warnings and worse on the console, and saves an emulated
// guest the serial port's time.
const guestCmdline = "loglevel=4"

// guest is the client of the guest's agent.
func (r *run) guest(m vmm.Machine) *control.Client {
	return control.NewClient(func(ctx context.Context) (net.Conn, error) {
		return m.Carrier().Dial(ctx, channel.PortControl)
	})
}
