package ssh

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// controls are the special characters of a terminal, by their opcodes (RFC 4254, 8).
// Linux has no VDSUSP, VFLUSH and VSTATUS.
var controls = map[byte]int{
	1: unix.VINTR, 2: unix.VQUIT, 3: unix.VERASE, 4: unix.VKILL, 5: unix.VEOF, 6: unix.VEOL, 7: unix.VEOL2, 8: unix.VSTART, 9: unix.VSTOP,
	10: unix.VSUSP, 12: unix.VREPRINT, 13: unix.VWERASE, 14: unix.VLNEXT, 16: unix.VSWTC, 18: unix.VDISCARD,
}

// The flags of a terminal, by their opcodes (RFC 4254, 8; IUTF8 is RFC 8160).
var (
	inputFlags = map[byte]uint32{
		30: unix.IGNPAR, 31: unix.PARMRK, 32: unix.INPCK, 33: unix.ISTRIP, 34: unix.INLCR, 35: unix.IGNCR, 36: unix.ICRNL, 37: unix.IUCLC,
		38: unix.IXON, 39: unix.IXANY, 40: unix.IXOFF, 41: unix.IMAXBEL, 42: unix.IUTF8,
	}
	localFlags = map[byte]uint32{
		50: unix.ISIG, 51: unix.ICANON, 52: unix.XCASE, 53: unix.ECHO, 54: unix.ECHOE, 55: unix.ECHOK, 56: unix.ECHONL, 57: unix.NOFLSH,
		58: unix.TOSTOP, 59: unix.IEXTEN, 60: unix.ECHOCTL, 61: unix.ECHOKE, 62: unix.PENDIN,
	}
	outputFlags = map[byte]uint32{
		70: unix.OPOST, 71: unix.OLCUC, 72: unix.ONLCR, 73: unix.OCRNL, 74: unix.ONOCR, 75: unix.ONLRET,
	}
	controlFlags = map[byte]uint32{92: unix.PARENB, 93: unix.PARODD}
)

const (
	modeCS7 = 90
	modeCS8 = 91
	// lastMode is the last opcode whose length is known: what comes behind a later one
	// can't be read.
	lastMode = 159
	// noControl says that a special character has no key.
	noControl = 255
)

// applyModes changes t as the encoded modes of a client's terminal say. It leaves out those
// that Linux has not, and the speeds: a pseudo-terminal has none.
func applyModes(t *unix.Termios, modes []byte) {
	for len(modes) >= 5 && modes[0] > 0 && modes[0] <= lastMode {
		op, value := modes[0], binary.BigEndian.Uint32(modes[1:])
		modes = modes[5:]
		if i, ok := controls[op]; ok {
			t.Cc[i] = byte(value)
			if value == noControl {
				t.Cc[i] = 0 // _POSIX_VDISABLE
			}
			continue
		}
		switch {
		case op == modeCS7 && value != 0:
			t.Cflag = t.Cflag&^unix.CSIZE | unix.CS7
		case op == modeCS8 && value != 0:
			t.Cflag = t.Cflag&^unix.CSIZE | unix.CS8
		}
		for _, f := range []struct {
			word  *uint32
			flags map[byte]uint32
		}{{&t.Iflag, inputFlags}, {&t.Lflag, localFlags}, {&t.Oflag, outputFlags}, {&t.Cflag, controlFlags}} {
			if bit := f.flags[op]; value != 0 {
				*f.word |= bit
			} else {
				*f.word &^= bit
			}
		}
	}
}
