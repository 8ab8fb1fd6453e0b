package main

import (
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed network.pl
var networkScript []byte

const (
	networkBytes = 64 << 20
	networkRuns  = 5
	idleFlows    = 1000
	flowsAtOnce  = 64
)

// network measures the guest's network beside what vm exec carries in the same guest.
func (x *b) network() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	go http.Serve(l, http.HandlerFunc(serveBytes)) // ends with l
	port := l.Addr().(*net.TCPAddr).Port
	script := filepath.Join(x.dir, "network.pl")
	if err := os.WriteFile(script, networkScript, 0o600); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"vm", "set", "-q", vmName, "--allow", fmt.Sprintf("host:%d", port)},
		{"vm", "cp", "-q", script, vmName + ":/root/network.pl"},
	} {
		if _, err := x.banger(args...); err != nil {
			return err
		}
	}
	in, out, err := x.execRates()
	if err != nil {
		return err
	}
	down, err := x.guestFigure(networkRuns, "curl", "-sS", "-o", "/dev/null", "-w", "%{speed_download}", fmt.Sprintf("http://10.0.2.2:%d/%d", port, networkBytes))
	if err != nil {
		return err
	}
	up, err := x.guestFigure(networkRuns, "sh", "-c", fmt.Sprintf("head -c %d /dev/zero | curl -sS -o /dev/null -w '%%{speed_upload}' -T - http://10.0.2.2:%d/up", networkBytes, port))
	if err != nil {
		return err
	}
	x.add(row{what: "network: 64 MiB down", got: down / (1 << 20), unit: "MiB/s", limit: 0.6 * in, more: true, of: "0.6 × exec in"})
	x.add(row{what: "network: 64 MiB up", got: up / (1 << 20), unit: "MiB/s", limit: 0.5 * out, more: true, of: "0.5 × exec out"})
	own, err := x.guestFigure(1, "perl", "/root/network.pl", "own")
	if err != nil {
		return err
	}
	one, err := x.guestFigure(1, "perl", "/root/network.pl", "connect", strconv.Itoa(port))
	if err != nil {
		return err
	}
	x.add(row{what: "network: a connection, one after another", got: one, unit: "ms", limit: own + 10, of: "the guest's own loopback + 10 ms"})
	begin := time.Now()
	got, err := x.banger("vm", "exec", vmName, "--", "sh", "-c", fmt.Sprintf(
		"curl -s --parallel --parallel-max %d -o /dev/null -w '%%{http_code}\\n' 'http://10.0.2.2:%d/[1-%d]' | grep -c 200", flowsAtOnce, port, idleFlows))
	if err != nil {
		return err
	}
	if lost := idleFlows - atoi(string(got)); lost != 0 {
		return fmt.Errorf("%d of %d requests were lost", lost, idleFlows)
	}
	x.add(row{what: fmt.Sprintf("network: %d requests, %d at once, none lost", idleFlows, flowsAtOnce), got: time.Since(begin).Seconds(), unit: "s"})
	return x.idleFlows(port)
}

// execRates are what vm exec carries in and out, in MiB/s.
func (x *b) execRates() (in, out float64, err error) {
	var ins, outs []float64
	for range networkRuns {
		cmd := x.command("vm", "exec", vmName, "--", "sh", "-c", "cat >/dev/null")
		cmd.Stdin = io.LimitReader(zeroes{}, networkBytes)
		begin := time.Now()
		if err := cmd.Run(); err != nil {
			return 0, 0, err
		}
		ins = append(ins, rate(networkBytes, time.Since(begin)))
		begin = time.Now()
		if _, err := x.banger("vm", "exec", vmName, "--", "head", "-c", strconv.Itoa(networkBytes), "/dev/zero"); err != nil {
			return 0, 0, err
		}
		outs = append(outs, rate(networkBytes, time.Since(begin)))
	}
	return median(ins), median(outs), nil
}

// guestFigure is the median of what a command in the guest prints, a number.
func (x *b) guestFigure(runs int, argv ...string) (float64, error) {
	var all []float64
	for range runs {
		text, err := x.banger(append([]string{"vm", "exec", vmName, "--"}, argv...)...)
		if err != nil {
			return 0, err
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
		if err != nil {
			return 0, fmt.Errorf("%q printed %q", argv, text)
		}
		all = append(all, f)
	}
	return median(all), nil
}

// idleFlows measures what the supervisor takes with many connections that are silent.
func (x *b) idleFlows(port int) error {
	cmd := x.command("vm", "exec", vmName, "--", "sh", "-c", fmt.Sprintf("ulimit -n 4096; exec perl /root/network.pl idle %d %d", port, idleFlows))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	line := make([]byte, 64)
	n, err := stdout.Read(line) // when all are there
	if err != nil || strings.TrimSpace(string(line[:n])) != "open" {
		return fmt.Errorf("open %d connections: %q, %w", idleFlows, line[:n], err)
	}
	kib, err := resident(x.vm.Supervisor.PID)
	if err != nil {
		return err
	}
	x.add(row{what: fmt.Sprintf("supervisor with %d idle connections, resident", idleFlows), got: kib / 1024, unit: "MiB", limit: 60})
	stdin.Close()
	return cmd.Wait()
}

func atoi(text string) int {
	n, _ := strconv.Atoi(strings.TrimSpace(text))
	return n
}

// serveBytes answers a path that is a number with so many bytes, and takes what is sent.
func serveBytes(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	n := atoi(strings.TrimPrefix(r.URL.Path, "/"))
	w.Header().Set("Content-Length", strconv.Itoa(n))
	io.CopyN(w, zeroes{}, int64(n))
}

// zeroes reads as zeroes for ever.
type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
