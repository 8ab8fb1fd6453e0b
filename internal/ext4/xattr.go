package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
	"strings"
)

const (
	paxXattr = "SCHILY.xattr."
	paxACL   = "SCHILY.acl."
)

// ACLs have an index each and no name below it.
const (
	accessACL  = "system.posix_acl_access"
	defaultACL = "system.posix_acl_default"
)

// namespaces are ext4's, by their index on disk (fs/ext4/xattr.h).
var namespaces = []struct {
	prefix string
	index  int
}{{"user.", 1}, {"trusted.", 4}, {"security.", 6}}

type xattr struct {
	full, name string
	index      int
	size       int // of entry and value on disk, each padded to 4 bytes
}

// keepXattrs picks the extended attributes out of an entry's PAX records and
// refuses what ext4, or its writer, can't hold.
func keepXattrs(records map[string]string) (map[string]string, error) {
	var attrs []xattr
	total := 0
	keep := map[string]string{}
	for key, value := range records {
		if strings.HasPrefix(key, paxACL) {
			return nil, fmt.Errorf("access control list (%s): it can't be kept", key)
		}
		full, ok := strings.CutPrefix(key, paxXattr)
		if !ok {
			continue
		}
		x := xattr{full: full}
		for _, ns := range namespaces {
			if name, ok := strings.CutPrefix(full, ns.prefix); ok {
				x.name, x.index = name, ns.index
			}
		}
		switch {
		case full == accessACL || full == defaultACL:
			x.index = 2
			if full == defaultACL {
				x.index = 3
			}
			var err error
			if value, err = aclOnDisk(value); err != nil {
				return nil, fmt.Errorf("extended attribute %q: %w", full, err)
			}
		case x.name == "" || len(x.name) > 255:
			return nil, fmt.Errorf("extended attribute %.300q: only user.*, trusted.*, security.* and ACLs can be kept", full)
		}
		x.size = (len(x.name)+3)&^3 + 16 + (len(value)+3)&^3
		if total += x.size; total > maxXattrs {
			return nil, fmt.Errorf("extended attributes of more than %d bytes", maxXattrs)
		}
		attrs = append(attrs, x)
		keep[key] = value // an ACL in its new form
	}
	if len(keep) == 0 {
		return nil, nil
	}
	sort.Slice(attrs, func(i, j int) bool { return attrs[i].full < attrs[j].full })
	return keep, checkBlockOrder(attrs)
}

// checkBlockOrder plays the writer's placing: what does not fit into the inode
// goes to a block, which is sorted with a comparison that is no order (it
// joins its criteria with "or"). The kernel searches a block in the order of
// index, length, name, and finds only what lies so.
func checkBlockOrder(attrs []xattr) error {
	const inodeRoom = 256 - 152 - 8
	left := inodeRoom
	var block []xattr
	for _, x := range attrs {
		if left >= x.size {
			left -= x.size
		} else {
			block = append(block, x)
		}
	}
	sort.Slice(block, func(i, j int) bool {
		a, b := block[i], block[j]
		return a.index < b.index || len(a.name) < len(b.name) || a.name < b.name
	})
	for i := 1; i < len(block); i++ {
		a, b := block[i-1], block[i]
		less := a.index < b.index
		if a.index == b.index {
			less = len(a.name) < len(b.name) || len(a.name) == len(b.name) && a.name < b.name
		}
		if !less {
			return fmt.Errorf("extended attributes %q and %q can't be kept together", a.full, b.full)
		}
	}
	return nil
}

// aclOnDisk turns an ACL as getxattr(2) gives it (linux/posix_acl_xattr.h:
// version 2, entries of tag, permissions and id) into ext4's own form
// (fs/ext4/acl.h: version 1, the id only where the tag has one), which the
// writer stores as it comes.
func aclOnDisk(value string) (string, error) {
	const (
		userObj, user, groupObj, group, mask, other = 1, 2, 4, 8, 16, 32
		version, versionOnDisk                      = 2, 1
	)
	b := []byte(value)
	if len(b) < 4 || len(b)%8 != 4 || binary.LittleEndian.Uint32(b) != version {
		return "", errors.New("not an ACL of a known form")
	}
	out := binary.LittleEndian.AppendUint32(nil, versionOnDisk)
	for e := b[4:]; len(e) > 0; e = e[8:] {
		tag, perm := binary.LittleEndian.Uint16(e), binary.LittleEndian.Uint16(e[2:])
		if perm > 7 {
			return "", fmt.Errorf("ACL has the permissions %#o", perm)
		}
		out = append(out, e[:4]...)
		switch tag {
		case user, group:
			out = append(out, e[4:8]...)
		case userObj, groupObj, mask, other:
		default:
			return "", fmt.Errorf("ACL has the unknown tag %#x", tag)
		}
	}
	return string(out), nil
}
