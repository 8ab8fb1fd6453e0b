package firecracker

import (
	"os"
	"testing"

	"banger/internal/launch"
	"banger/internal/vmm/vmmtest"
)

// The test binary is its own launcher, and a supervisor that can be killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "launch" {
		launch.Main()
	}
	vmmtest.Supervise(realDriver())
	os.Exit(m.Run())
}

// realDriver runs the Firecracker that the tests are told of, or PATH's.
func realDriver() *Driver {
	program, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return New(Config{Launcher: program, Binary: os.Getenv("BANGER_TEST_FIRECRACKER")})
}
