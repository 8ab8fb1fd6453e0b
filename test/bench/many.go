package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	rowsMany    = 1000 // stopped VMs
	runningMany = 50   // VMs that run on stand-ins, which have no kernel
	deleteMany  = 100
)

// many measures a state directory with many VMs, and a daemon that is killed
// beside VMs that run. The programs are built with the stand-in VMM.
func (x *b) many() error {
	bin := filepath.Join(x.dir, "standin")
	if out, err := exec.Command("go", "build", "-trimpath", "-tags=standin", "-o", bin+"/", "./cmd/banger", "./cmd/bangerd").CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(bin, "banger-agent"), nil, 0o755); err != nil { // a stand-in boots nothing
		return err
	}
	y := &b{bin: bin, dir: filepath.Join(x.dir, "many"), env: append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(x.dir, "many"))}
	defer y.banger("daemon", "stop")
	create := func(name string, more ...string) error {
		_, err := y.banger(append([]string{"vm", "create", "-q", "--vmm", "standin", "--memory", "128M", "--disk-size", "64M", "--name", name}, more...)...)
		return err
	}
	for i := range rowsMany {
		if err := create("still-"+strconv.Itoa(i), "--no-start"); err != nil {
			return err
		}
	}
	list, err := y.times(often, func() error { _, err := y.banger("vm", "list"); return err })
	if err != nil {
		return err
	}
	x.add(row{what: fmt.Sprintf("`banger vm list` of %d VMs", rowsMany), got: ms(list), limit: 50, unit: "ms"})

	start, err := y.times(5, func() error { return y.restart() })
	if err != nil {
		return err
	}
	x.add(row{what: fmt.Sprintf("start of the daemon with %d stopped VMs, and the first answer", rowsMany), got: ms(start), limit: 1000, unit: "ms"})

	var names []string
	for i := range deleteMany {
		names = append(names, "still-"+strconv.Itoa(i))
	}
	took, err := y.times(1, func() error { _, err := y.banger(append([]string{"vm", "delete", "-q"}, names...)...); return err })
	if err != nil {
		return err
	}
	x.add(row{what: fmt.Sprintf("`banger vm delete` of %d stopped VMs", deleteMany), got: ms(took), limit: 2000, unit: "ms"})

	for i := range runningMany {
		if err := create("runs-"+strconv.Itoa(i), "--force"); err != nil {
			return err
		}
	}
	adopt, err := y.times(5, func() error {
		if err := y.restart(); err != nil {
			return err
		}
		return y.allWell("runs-", runningMany)
	})
	if err != nil {
		return err
	}
	x.add(row{what: fmt.Sprintf("start of the daemon beside %d VMs that run, until it has heard all", runningMany), got: ms(adopt), limit: 2000, unit: "ms"})
	names = nil
	for i := range runningMany {
		names = append(names, "runs-"+strconv.Itoa(i))
	}
	_, err = y.banger(append([]string{"vm", "delete", "-q", "-f"}, names...)...)
	return err
}

// times is the median of how long do takes.
func (x *b) times(n int, do func() error) (time.Duration, error) {
	var took []time.Duration
	for range n {
		begin := time.Now()
		if err := do(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(begin))
	}
	return median(took), nil
}

// restart kills the daemon; the next command starts another one.
func (x *b) restart() error {
	pid, err := x.daemonPID()
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		return err
	}
	for daemonLives(pid) {
		time.Sleep(time.Millisecond)
	}
	_, err = x.banger("vm", "list", "-q")
	return err
}

func daemonLives(pid int) bool {
	_, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
	return err == nil
}

// allWell waits until the daemon has heard of n VMs that run.
func (x *b) allWell(prefix string, n int) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		text, err := x.banger("vm", "list", "--json")
		if err != nil {
			return err
		}
		var list []struct {
			Name, State string
			VMM         struct{ PID int }
		}
		if err := json.Unmarshal(text, &list); err != nil {
			return err
		}
		well := 0
		for _, v := range list {
			if strings.HasPrefix(v.Name, prefix) && v.State == "running" && v.VMM.PID > 0 {
				well++
			}
		}
		if well == n {
			return nil
		}
	}
	return fmt.Errorf("not all of %d VMs are running after a minute", n)
}
