package standin

import (
	"os"
	"testing"

	"banger/internal/launch"
	"banger/internal/vmm/vmmtest"
)

// verbOrders is the verb of a stand-in whose guest is the contract suite's.
const verbOrders = "standin-orders"

// The test binary is its own launcher, a supervisor that can be killed, and
// stand-ins.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "launch":
			launch.Main()
		case Verb:
			Main()
		case verbOrders:
			run(services{agent: "vmmtest", open: orderPorts})
		}
	}
	vmmtest.Supervise(testDriver(verbOrders))
	os.Exit(m.Run())
}

// testDriver runs stand-ins of that verb.
func testDriver(verb string) *Driver {
	program, err := os.Executable()
	if err != nil {
		panic(err)
	}
	d := New(Config{Launcher: program})
	d.verb = verb
	return d
}
