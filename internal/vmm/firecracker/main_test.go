package firecracker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/launch"
	"banger/internal/vmm/vmmtest"
)

// The test binary is its own launcher, a supervisor that can be killed, and a
// Firecracker that does what its name says.
func TestMain(m *testing.M) {
	if behaviour, ok := strings.CutPrefix(filepath.Base(os.Args[0]), fakePrefix); ok {
		fakeMain(behaviour)
	}
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
