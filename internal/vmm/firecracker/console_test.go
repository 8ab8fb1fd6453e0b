package firecracker

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestHaltWatch(t *testing.T) {
	for text, want := range map[string]int{
		"[    1.234567] reboot: System halted\n":                 1,
		"[    1.234567] reboot: Power down\r\r\n":                1,
		"[    1.2][    T1] reboot: System halted\n":              1,
		"reboot: Power down\n":                                   1,
		"x\n[  1.0] reboot: Power down\ny\nreboot: Power down\n": 2,
		"reboot: Power down":                                     0, // no line yet
		"echo '[ 1.0] reboot: Power down'\n":                     0,
		"[ 1.0] reboot: Power down now\n":                        0,
		"[ 1.0] reboot: Restarting system\n":                     0,
		strings.Repeat("x", 10*maxLine) + "reboot: Power down\n": 0,
	} {
		for _, r := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text))} {
			got := 0
			h := &haltWatch{ReadCloser: io.NopCloser(r), halted: func() { got++ }}
			if all, err := io.ReadAll(h); err != nil || string(all) != text {
				t.Fatalf("the console changed: %q, %v", all, err)
			}
			if got != want {
				t.Errorf("%.60q… was taken for %d halts, want %d", text, got, want)
			}
		}
	}
}

// Whatever a guest says, however it is cut: nothing is changed, nothing grows.
func FuzzHaltWatch(f *testing.F) {
	f.Add([]byte("[ 1.0] reboot: Power down\n"), 3)
	f.Add(bytes.Repeat([]byte("x"), 3*maxLine), 100)
	f.Fuzz(func(t *testing.T, text []byte, size int) {
		h := &haltWatch{ReadCloser: io.NopCloser(bytes.NewReader(text)), halted: func() {}}
		var got []byte
		buf := make([]byte, 1+uint(size)%512)
		for {
			n, err := h.Read(buf)
			got = append(got, buf[:n]...)
			if cap(h.line) > 4*maxLine {
				t.Fatalf("%d bytes of a line are kept", cap(h.line))
			}
			if err != nil {
				break
			}
		}
		if !bytes.Equal(got, text) {
			t.Fatalf("read %q, want %q", got, text)
		}
	})
}

func TestWords(t *testing.T) {
	log := "2026-01-31T12:00:00.000000000 [0123456789abcdef:main] first\n2026-01-31T12:00:00.5 [0123456789abcdef:fc_vcpu 0] second\nthread 'main' panicked\n\n"
	if got := plain(log); got != "first\nsecond\nthread 'main' panicked\n\n" {
		t.Errorf("plain = %q", got)
	}
	if got := lastWords(plain(log)); got != "thread 'main' panicked" {
		t.Errorf("lastWords = %q", got)
	}
	if got := lastWords(""); got != "" {
		t.Errorf("lastWords of nothing = %q", got)
	}
}

func FuzzFaultText(f *testing.F) {
	f.Add([]byte(`{"fault_message": "x"}`))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if got := faultText(body, "400 Bad Request"); len(got) > maxFault || got == "" {
			t.Errorf("faultText(%q) = %q", body, got)
		}
	})
}
