package ssh

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// program is one of OpenSSH's own clients, which takes ssh's options.
func (s *server) program(t *testing.T, words ...string) *exec.Cmd {
	t.Helper()
	if _, err := exec.LookPath(words[0]); err != nil {
		t.Skipf("%s is not installed", words[0])
	}
	return exec.CommandContext(t.Context(), words[0], append(s.files(t), words[1:]...)...)
}

// stock runs a client.
func (s *server) stock(t *testing.T, stdin []byte, words ...string) (stdout []byte, status int) {
	t.Helper()
	cmd := s.program(t, words...)
	cmd.Stdin = bytes.NewReader(stdin)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if errs.Len() > 0 {
		t.Logf("%q: %v: %s", words, err, errs.Bytes())
	}
	return out, cmd.ProcessState.ExitCode()
}

func TestOpenSSH(t *testing.T) {
	s := serve(t)
	large := bytes.Repeat([]byte("0123456789abcdef"), 2<<20/16)
	if out, status := s.stock(t, large, "ssh", "vm", "cat; exit 7"); status != 7 || !bytes.Equal(out, large) {
		t.Errorf("ssh cat: status %d and %d bytes, want 7 and %d", status, len(out), len(large))
	}
	if out, status := s.stock(t, []byte("echo $0; echo hello\nexit 5\n"), "ssh", "-T", "vm"); status != 5 || !strings.HasSuffix(string(out), "hello\n") {
		t.Errorf("a shell: status %d and %q", status, out)
	}
	if out, status := s.stock(t, nil, "ssh", "-tt", "vm", "tty && stty size"); status != 0 || !strings.HasPrefix(string(out), "/dev/pts/") {
		t.Errorf("a terminal: status %d and %q", status, out)
	}

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, large, 0o640); err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"-s", "-O"} {
		if how == "-O" {
			if _, err := exec.LookPath("scp"); err != nil {
				continue
			}
		}
		if _, status := s.stock(t, nil, "scp", how, "-p", file, "vm:copy"); status != 0 {
			t.Fatalf("scp %s to the guest: status %d", how, status)
		}
		if _, status := s.stock(t, nil, "scp", how, "-p", "vm:copy", file+".back"); status != 0 {
			t.Fatalf("scp %s from the guest: status %d", how, status)
		}
		back, err := os.ReadFile(file + ".back")
		if err != nil || !bytes.Equal(back, large) {
			t.Errorf("scp %s brings back %d bytes, %v", how, len(back), err)
		}
		if fi, err := os.Stat(filepath.Join(s.home, "copy")); err != nil || fi.Mode().Perm() != 0o640 {
			t.Errorf("scp %s makes %v, %v; want mode 0640", how, fi, err)
		}
		os.Remove(file + ".back")
		os.Remove(filepath.Join(s.home, "copy"))
	}
	batch := "put " + file + " there\nrename there moved\nmkdir d\nls -l\nget moved " + file + ".2\n"
	if out, status := s.stock(t, []byte(batch), "sftp", "-b", "-", "vm"); status != 0 || !strings.Contains(string(out), "moved") {
		t.Errorf("sftp: status %d and %q", status, out)
	}
	if fi, err := os.Stat(file + ".2"); err != nil || fi.Size() != int64(len(large)) {
		t.Errorf("sftp brings back %v, %v", fi, err)
	}
}
