package standin

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/channel"
	"banger/internal/vmm"
	"banger/internal/vmm/vmmtest"
)

func TestContract(t *testing.T) {
	vmmtest.Run(t, vmmtest.Config{
		New:   func() vmm.Driver { return testDriver(verbOrders) },
		Opens: []string{"/sys/fs/cgroup/"}, // Go's runtime looks for limits there
		Ends:  map[string]string{"reset": "reset", "poweroff": "shutdown", "panic": "reset"},
		Slow: func(t *testing.T, s vmm.Spec) {
			if err := (Behaviour{HelloDelayMillis: 10_000}).Save(filepath.Dir(s.Dir)); err != nil {
				t.Fatal(err)
			}
		},
	})
}

// orderPorts are those of the suite's guest (vmmtest/guest), played on the host.
func orderPorts(g *guest) (map[uint32]func(net.Listener), error) {
	return map[uint32]func(net.Listener){channel.PortControl: func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the process at the latest
				defer c.Close()
				line, err := bufio.NewReader(io.LimitReader(c, 4<<10)).ReadString('\n')
				if err != nil {
					return
				}
				answer, err := g.obey(strings.Fields(line))
				if err != nil {
					answer = "error: " + err.Error()
				}
				fmt.Fprintln(c, answer)
			}()
		}
	}}, nil
}

func (g *guest) obey(words []string) (string, error) {
	switch words[0] {
	case "reset":
		g.hear(signalReset)
	case "poweroff":
		g.hear(signalShutdown)
	case "panic":
		g.hear(signalPanic)
	case "cpus":
		if g.spec.VCPUs == 1 {
			return "0", nil
		}
		return fmt.Sprintf("0-%d", g.spec.VCPUs-1), nil
	case "read":
		text, err := os.ReadFile(g.disk(words[1]).Path)
		word, _, _ := bytes.Cut(text, []byte("\n"))
		return string(word), err
	case "write":
		return "written", g.write(g.disk(words[1]), words[2]+"\n")
	}
	return "", fmt.Errorf("order %q is not known", words)
}

// disk is the disk that a guest calls vda, vdb, ….
func (g *guest) disk(name string) vmm.Disk { return g.spec.Disks[name[2]-'a'] }

func (g *guest) write(d vmm.Disk, text string) error {
	if d.ReadOnly {
		return fmt.Errorf("%q is read-only", d.Path)
	}
	f, err := os.OpenFile(d.Path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt([]byte(text), 0)
	return err
}
