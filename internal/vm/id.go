package vm

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
)

// ID identifies a VM for good: 16 lower-case hexadecimal digits. Every name of
// a host resource (directory, socket, scope) derives from it alone.
type ID string

// NewID returns a random ID. Eight random bytes: a collision among a million
// VMs has a chance of about 3e-8, and the database's key refuses it.
func NewID() ID {
	var b [8]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return ID(hex.EncodeToString(b[:]))
}

// CheckID reports whether s is a whole ID.
func CheckID(s string) error {
	if len(s) != 16 {
		return fmt.Errorf("id %q is not 16 hexadecimal digits", s)
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("id %q is not 16 hexadecimal digits", s)
		}
	}
	return nil
}

// MaxNameLen is a DNS label's length (RFC 1035, section 2.3.4): a VM's name is
// also its host name.
const MaxNameLen = 63

// CheckName reports why s cannot be a VM's name. A name is a DNS label: 1 to
// 63 of a-z, 0-9 and hyphen, with no hyphen at either end.
func CheckName(s string) error {
	switch {
	case s == "":
		return errors.New("name is empty: use 1 to 63 of a-z, 0-9 and hyphen")
	case len(s) > MaxNameLen:
		return fmt.Errorf("name %.20q… has %d characters: the most is %d", s, len(s), MaxNameLen)
	case s[0] == '-' || s[len(s)-1] == '-':
		return fmt.Errorf("name %q begins or ends with a hyphen", s)
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("name %q has the character %q: use a-z, 0-9 and hyphen", s, rune(c))
		}
	}
	return nil
}
