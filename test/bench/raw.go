package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// untilQuiet waits for the end of a guest's boot.
const untilQuiet = "until systemctl is-system-running | grep -q -x -e running -e degraded; do sleep 0.5; done; sleep 5"

func nothing() error { return nil }

// raw measures exec's stdin and stdout and, in turn, so that a busy host slows
// both, a virtio-serial port with nothing on it, in a guest like the measured
// one, by the same dd; and again with a pipe between port and dd, as each
// command's stdin and stdout are pipes.
func (x *b) raw() error {
	disk, err := x.freshDisk("raw")
	if err != nil {
		return err
	}
	m, err := startQEMU(x.bareArgs(disk), true)
	if err != nil {
		return fmt.Errorf("boot bare: %w", err)
	}
	defer m.close()
	if err := m.run(nothing, "sh", "-c", untilQuiet); err != nil {
		return err
	}
	path := filepath.Join(x.dir, "bulk")
	if err := os.WriteFile(path, make([]byte, bulk), 0o600); err != nil {
		return err
	}
	defer os.Remove(path)
	const dd = "dd bs=256k iflag=fullblock status=none "
	count := fmt.Sprintf("count=%d ", bulk>>18)
	const direct, piped = 0, 1
	scripts := [...][2]string{
		direct: {dd + count + "of=/dev/null <&9", dd + count + "if=/dev/zero >&9"},
		piped:  {dd + count + "<&9 | " + dd + "of=/dev/null", dd + count + "if=/dev/zero | " + dd + ">&9"},
	}
	var rates [len(scripts)][2][]float64
	var through [2][]float64
	for range bulkRuns {
		in, out, err := x.bytes(path)
		if err != nil {
			return err
		}
		through[0], through[1] = append(through[0], in), append(through[1], out)
		for how, way := range scripts {
			in, err := m.pour(way[0], m.send)
			if err != nil {
				return err
			}
			out, err := m.pour(way[1], m.take)
			if err != nil {
				return err
			}
			rates[how][0], rates[how][1] = append(rates[how][0], in), append(rates[how][1], out)
		}
	}
	for i, way := range []struct{ name, word string }{{"host to guest", "stdin"}, {"guest to host", "stdout"}} {
		raw := median(rates[direct][i])
		x.add(row{what: "raw virtio-serial port, " + way.name, got: raw, unit: "MiB/s"})
		x.add(row{what: "the same with a pipe in the guest", got: median(rates[piped][i]), unit: "MiB/s"})
		x.add(row{what: "256 MiB through `vm exec` " + way.word, got: median(through[i]), limit: raw / 2, unit: "MiB/s", more: true, of: "half the raw port"})
	}
	return nil
}

// pour runs script in the guest with its descriptor 9 on the raw port, and
// move on the host, and returns the rate in MiB/s at which both were done.
func (m *bare) pour(script string, move func() error) (float64, error) {
	var begin time.Time
	moved := make(chan error, 1)
	err := m.run(func() error {
		begin = time.Now()
		go func() { moved <- move() }() // ends when all is moved
		return nil
	}, "sh", "-c", fmt.Sprintf("exec 9<>$(echo %s); echo go; %s", rawPort, script))
	if err != nil {
		return 0, err
	}
	if err := <-moved; err != nil {
		return 0, err
	}
	return rate(bulk, time.Since(begin)), nil
}

func (m *bare) send() error {
	block := make([]byte, 256<<10)
	for range bulk / len(block) {
		if _, err := m.raw.Write(block); err != nil {
			return err
		}
	}
	return nil
}

func (m *bare) take() error {
	_, err := io.CopyN(io.Discard, m.raw, bulk)
	return err
}
