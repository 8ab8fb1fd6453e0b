package command

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

const (
	// hangup is how long a session has between SIGHUP and SIGKILL when its host end
	// is gone.
	hangup = 2 * time.Second
	// lookAgain is between two looks at who is left: nobody tells of the end of
	// another's child.
	lookAgain = 20 * time.Millisecond
	// killRounds is how often what is left is killed: it may fork meanwhile.
	killRounds = 100
)

// hangUp ends a session whose host is gone: all its processes, in whatever group.
// What has made a session of its own (setsid(2)) is not one of them, and lives.
func (p *process) hangUp() {
	sid := p.proc.Pid
	told := map[int]bool{}
	for end := time.Now().Add(hangup); time.Now().Before(end); time.Sleep(lookAgain) {
		left := members(sid)
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			if !told[pid] { // others may come while some end
				told[pid] = true
				syscall.Kill(pid, syscall.SIGHUP)
				syscall.Kill(pid, syscall.SIGCONT)
			}
		}
	}
	for range killRounds {
		left := members(sid)
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(lookAgain)
	}
}

// members are the processes of a session that have not ended.
func members(sid int) (pids []int) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue
		}
		// pid (comm) state ppid pgrp session …, see proc(5)
		f := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		if len(f) > 3 && f[0][0] != 'Z' && f[0][0] != 'X' && string(f[3]) == strconv.Itoa(sid) {
			pids = append(pids, pid)
		}
	}
	return pids
}
