package untar

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Tags of an access list's entries, as its attribute has them
// (include/uapi/linux/posix_acl.h).
const (
	aclUserOwner  = 0x01 // and twice that for a named user
	aclGroupOwner = 0x04 // and twice that for a named group
	aclMask       = 0x10
	aclOther      = 0x20
)

// noID is the id of an entry that names nobody.
const noID = 0xffffffff

// aclAttribute turns an access list as text, as tar(1) writes it with --acls, into the
// value of its attribute. Users and groups are known by number alone: names are the
// image's to tell.
func aclAttribute(text string) (string, error) {
	value := binary.LittleEndian.AppendUint32(nil, 2) // POSIX_ACL_XATTR_VERSION
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == ',' }) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) == 1 && f[0] == "" {
			continue
		}
		if len(f) < 3 {
			return "", fmt.Errorf("access list entry %.100q can't be read", line)
		}
		tag, id := uint16(0), uint32(noID)
		switch f[0] {
		case "user", "u":
			tag = aclUserOwner
		case "group", "g":
			tag = aclGroupOwner
		case "mask", "m":
			tag = aclMask
		case "other", "o":
			tag = aclOther
		}
		if f[1] != "" && (tag == aclUserOwner || tag == aclGroupOwner) {
			tag *= 2 // the named one
			number := f[1]
			if len(f) > 3 { // star's form: the number comes last
				number = f[3]
			}
			n, err := strconv.ParseUint(number, 10, 32)
			if err != nil {
				return "", fmt.Errorf("access list entry %.100q names nobody by number", line)
			}
			id = uint32(n)
		}
		perm := uint16(0)
		for i, c := range []byte("rwx") {
			switch {
			case len(f[2]) != 3 || f[2][i] != c && f[2][i] != '-':
				return "", fmt.Errorf("access list entry %.100q can't be read", line)
			case f[2][i] == c:
				perm |= 4 >> i
			}
		}
		if tag == 0 {
			return "", fmt.Errorf("access list entry %.100q can't be read", line)
		}
		value = binary.LittleEndian.AppendUint16(value, tag)
		value = binary.LittleEndian.AppendUint16(value, perm)
		value = binary.LittleEndian.AppendUint32(value, id)
	}
	return string(value), nil
}
