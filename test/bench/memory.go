package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// memory runs a command, and returns how long it took and what it, its children, the
// daemon with its and the supervisor took of the host's memory at most, beyond what those
// two had before: in bytes that are no file's.
func (x *b) memory(args ...string) (took time.Duration, peak int64, err error) {
	daemon, err := x.daemonPID()
	if err != nil {
		return 0, 0, err
	}
	idle := anonymous(daemon) + anonymous(x.vm.Supervisor.PID)
	cmd := x.command(args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }() // ends with the command
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if err != nil {
				err = fmt.Errorf("banger %q: %w: %s", args, err, &said)
			}
			return time.Since(begin), peak, err
		case <-tick.C:
			sum := anonymous(x.vm.Supervisor.PID)
			for _, root := range []int{cmd.Process.Pid, daemon} {
				for _, pid := range descendants(root) {
					if pid != x.vm.Supervisor.PID && pid != x.vm.VMM.PID {
						sum += anonymous(pid)
					}
				}
			}
			peak = max(peak, sum-idle)
		}
	}
}

// anonymous is a process's RssAnon and RssShmem in bytes (proc(5)); 0 if it is gone.
func anonymous(pid int) (sum int64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && (f[0] == "RssAnon:" || f[0] == "RssShmem:") {
			if kib, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				sum += kib << 10
			}
		}
	}
	return sum
}

// descendants are a process and those that came of it.
func descendants(pid int) []int {
	list := []int{pid}
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is well-formed
	for _, t := range threads {
		text, err := os.ReadFile(t)
		if err != nil {
			continue // it has ended
		}
		for _, f := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(f); err == nil {
				list = append(list, descendants(child)...)
			}
		}
	}
	return list
}
