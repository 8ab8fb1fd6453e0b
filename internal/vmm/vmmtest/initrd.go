package vmmtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// buildGuest builds the suite's program, or takes the one that
// BANGER_TEST_GUEST names, where there is no Go.
func buildGuest(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("BANGER_TEST_GUEST"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "guest")
	cmd := exec.Command("go", "build", "-o", path, "-ldflags=-s -w", "banger/internal/vmm/vmmtest/guest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=") // no -race, no -cover in the guest
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the guest: %v\n%s", err, out)
	}
	return path
}

// packInitrd writes base followed by an archive of init as /init: the kernel
// unpacks one after the other, and the last file of a name stays
// (Documentation/driver-api/early-userspace/buffer-format.rst).
func packInitrd(path, base, init string) error {
	text, err := os.ReadFile(base)
	if err != nil {
		return err
	}
	program, err := os.ReadFile(init)
	if err != nil {
		return err
	}
	out := bytes.NewBuffer(text)
	pad(out)
	writeEntry(out, "init", 0o100755, program)
	writeEntry(out, "TRAILER!!!", 0, nil)
	return os.WriteFile(path, out.Bytes(), 0o600)
}

func writeEntry(out *bytes.Buffer, name string, mode uint32, data []byte) {
	fields := [13]uint32{1, mode, 0, 0, 1, 0, uint32(len(data)), 0, 0, 0, 0, uint32(len(name) + 1), 0}
	out.WriteString("070701")
	for _, f := range fields {
		fmt.Fprintf(out, "%08X", f)
	}
	out.WriteString(name)
	out.WriteByte(0)
	pad(out)
	out.Write(data)
	pad(out)
}

func pad(out *bytes.Buffer) {
	for out.Len()%4 != 0 {
		out.WriteByte(0)
	}
}
