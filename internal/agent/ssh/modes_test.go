package ssh

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// encode makes modes as a client sends them.
func encode(pairs ...uint32) (out []byte) {
	for i := 0; i+1 < len(pairs); i += 2 {
		out = binary.BigEndian.AppendUint32(append(out, byte(pairs[i])), pairs[i+1])
	}
	return append(out, 0)
}

func TestApplyModes(t *testing.T) {
	for name, tt := range map[string]struct {
		modes []byte
		want  func(*unix.Termios)
	}{
		"none":                          {nil, func(*unix.Termios) {}},
		"a flag off, another on":        {encode(ssh.ECHO, 0, ssh.IXANY, 1), func(s *unix.Termios) { s.Lflag &^= unix.ECHO; s.Iflag |= unix.IXANY }},
		"a character":                   {encode(ssh.VERASE, 8), func(s *unix.Termios) { s.Cc[unix.VERASE] = 8 }},
		"a character without key":       {encode(ssh.VINTR, 255), func(s *unix.Termios) { s.Cc[unix.VINTR] = 0 }},
		"as OpenSSH has eight bits":     {encode(ssh.CS7, 1, ssh.CS8, 1, ssh.PARENB, 0), func(s *unix.Termios) { s.Cflag = s.Cflag&^unix.CSIZE | unix.CS8 }},
		"seven bits":                    {encode(ssh.CS7, 1, ssh.CS8, 0), func(s *unix.Termios) { s.Cflag = s.Cflag&^unix.CSIZE | unix.CS7 }},
		"speeds and what Linux has not": {encode(ssh.TTY_OP_ISPEED, 9600, ssh.TTY_OP_OSPEED, 9600, ssh.VDSUSP, 3, 100, 1), func(*unix.Termios) {}},
		"behind the end":                {append(encode(), encode(ssh.ECHO, 0)...), func(*unix.Termios) {}},
		"behind what can't be read":     {append([]byte{160, 0, 0, 0, 0}, encode(ssh.ECHO, 0)...), func(*unix.Termios) {}},
		"cut off":                       {encode(ssh.ECHO, 0)[:4], func(*unix.Termios) {}},
	} {
		t.Run(name, func(t *testing.T) {
			master, slave, err := pty.Open()
			if err != nil {
				t.Skip(err)
			}
			defer master.Close()
			defer slave.Close()
			got, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			want := *got
			applyModes(got, tt.modes)
			if tt.want(&want); *got != want {
				t.Errorf("the settings are %+v, want %+v", *got, want)
			}
		})
	}
}

func FuzzApplyModes(f *testing.F) {
	f.Add(encode(ssh.ECHO, 0, ssh.VINTR, 255, ssh.CS8, 1))
	f.Add([]byte{255, 1, 2, 3})
	f.Fuzz(func(t *testing.T, modes []byte) {
		var once, twice unix.Termios
		applyModes(&once, modes)
		twice = once
		if applyModes(&twice, modes); once != twice {
			t.Errorf("%q: %+v, and then %+v", modes, once, twice)
		}
	})
}

// A stock client's terminal is as its user's, and its path is said.
func TestOpenSSHModes(t *testing.T) {
	s := serve(t)
	master, slave, err := pty.Open()
	if err != nil {
		t.Skip(err)
	}
	defer master.Close()
	defer slave.Close()
	set, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	set.Cc[unix.VERASE], set.Cc[unix.VINTR] = 8, 0
	set.Iflag |= unix.IXANY
	if err := unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, set); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the terminal
		b := make([]byte, 1<<10)
		for {
			if _, err := master.Read(b); err != nil {
				return
			}
		}
	}()
	out, status := s.onTerminal(t, slave, "ssh", "-t", "vm", `test "$SSH_TTY" = "$(tty)" && stty -a`)
	for _, want := range []string{" erase = ^H", "intr = <undef>", " ixany"} {
		if !strings.Contains(strings.ReplaceAll(out, "\r", ""), want) {
			t.Errorf("the guest's terminal has not %q (status %d): %q", want, status, out)
		}
	}
}

// onTerminal runs a client whose input is a terminal.
func (s *server) onTerminal(t *testing.T, terminal *os.File, words ...string) (stdout string, status int) {
	t.Helper()
	cmd := s.program(t, words...)
	cmd.Stdin = terminal
	out, err := cmd.Output()
	if err != nil {
		t.Logf("%q: %v", words, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}
