package ext4

import (
	"fmt"
	"sort"
	"strings"
)

const (
	paxXattr = "SCHILY.xattr."
	paxACL   = "SCHILY.acl."
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
		if x.name == "" || len(x.name) > 255 {
			return nil, fmt.Errorf("extended attribute %.300q: only user.*, trusted.* and security.* can be kept", full)
		}
		x.size = (len(x.name)+3)&^3 + 16 + (len(value)+3)&^3
		if total += x.size; total > maxXattrs {
			return nil, fmt.Errorf("extended attributes of more than %d bytes", maxXattrs)
		}
		attrs = append(attrs, x)
		keep[key] = value
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
