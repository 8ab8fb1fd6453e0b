package main

import (
	"context"
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
	// restTime is more than the agent takes to give back what connections have left.
	restTime = 15 * time.Second
)

// network measures the guest's network beside what vm exec carries in the same guest.
func (x *b) network() error {
	l, port, err := serve()
	if err != nil {
		return err
	}
	defer l.Close()
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
	own, err := x.guestFigure(1, "perl", "/root/network.pl", "own")
	if err != nil {
		return err
	}
	f, err := transfers(x.guestFigure, "10.0.2.2", port)
	if err != nil {
		return err
	}
	x.add(row{what: "network: 64 MiB down", got: f.down, unit: "MiB/s", limit: 0.6 * in, more: true, of: "0.6 × exec in"})
	x.add(row{what: "network: 64 MiB up", got: f.up, unit: "MiB/s", limit: 0.5 * out, more: true, of: "0.5 × exec out"})
	x.add(row{what: "network: a connection, one after another", got: f.connect, unit: "ms", limit: own + 10, of: "the guest's own loopback + 10 ms"})
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
	if err := x.idleFlows(port); err != nil {
		return err
	}
	if err := x.agentRests(); err != nil {
		return err
	}
	return x.firstByte(port)
}

// figures are what a network carries, in MiB/s, and a connection's time, in ms.
type figures struct{ down, up, connect float64 }

// transfers measures them in a guest in which guest runs commands, as guestFigure does.
// host is this machine's loopback as the guest sees it.
func transfers(guest func(runs int, argv ...string) (float64, error), host string, port int) (f figures, err error) {
	url := fmt.Sprintf("http://%s:%d/", host, port)
	if f.down, err = guest(networkRuns, "curl", "-sS", "-o", "/dev/null", "-w", "%{speed_download}", url+strconv.Itoa(networkBytes)); err != nil {
		return f, err
	}
	send := fmt.Sprintf("head -c %d /dev/zero | curl -sS -o /dev/null -w '%%{speed_upload}' -T - %sup", networkBytes, url)
	if f.up, err = guest(networkRuns, "sh", "-c", send); err != nil {
		return f, err
	}
	f.down, f.up = f.down/(1<<20), f.up/(1<<20)
	f.connect, err = guest(1, "perl", "/root/network.pl", "connect", strconv.Itoa(port), host)
	return f, err
}

// agentRests measures what the agent takes when all that was is over.
func (x *b) agentRests() error {
	time.Sleep(restTime)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	h, err := x.guest().Health(ctx)
	if err != nil {
		return err
	}
	x.add(row{what: "agent in the guest, resident, idle after all this", got: float64(h.AgentRSSKiB) / 1024, unit: "MiB"})
	return nil
}

// firstByte measures a whole run: without a network, with one that is not used, and until the
// first byte of what the network brings.
func (x *b) firstByte(port int) error {
	runs := []struct {
		what string
		args []string
		took []time.Duration
	}{
		{what: "`banger vm run --rm --net none -- true`, until its end", args: []string{"--net", "none", "--", "true"}},
		{what: "the same with a network", args: []string{"--", "true"}},
		{what: "`banger vm run --rm -- curl`, until the first byte", args: []string{
			"--allow", fmt.Sprintf("host:%d", port), "--", "curl", "-sS", fmt.Sprintf("http://10.0.2.2:%d/1", port)}},
	}
	for range x.runs {
		for i := range runs {
			time.Sleep(settle)
			begin := time.Now()
			cmd := x.command(append([]string{"vm", "run", "--vmm", x.vm.VMM.Driver, "--rm", "-q"}, runs[i].args...)...)
			stdout, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				return err
			}
			n, _ := stdout.Read(make([]byte, 1))
			took := time.Since(begin)
			if err := cmd.Wait(); err != nil {
				return fmt.Errorf("%q: %w", cmd.Args, err)
			}
			if n == 0 {
				took = time.Since(begin)
			}
			runs[i].took = append(runs[i].took, took)
		}
	}
	for _, r := range runs {
		x.add(row{what: r.what, got: median(r.took).Seconds(), unit: "s"})
	}
	return nil
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

// serve answers by HTTP on a port of this machine's loopback until the listener is closed.
func serve() (net.Listener, int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, 0, err
	}
	go http.Serve(l, http.HandlerFunc(serveBytes)) // ends with l
	return l, l.Addr().(*net.TCPAddr).Port, nil
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
