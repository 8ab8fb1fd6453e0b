package command

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const groupFile = "/etc/group"

// account is a user as passwd(5) and group(5) have it.
type account struct {
	name, home, shell string
	uid, gid          uint32
	groups            []uint32 // the supplementary ones
	own               bool     // the agent's own user, root: nothing is to be changed
}

// findAccount looks up USER or USER:GROUP, each a name or a number; "" is the agent's
// own user. A number need not be in the files: its user has no name, and / as home.
func findAccount(passwd, group, spec string) (account, error) {
	if spec == "" {
		home, shell := rootUser(passwd)
		return account{name: "root", home: home, shell: shell, own: true}, nil
	}
	user, grp, hasGroup := strings.Cut(spec, ":")
	a := account{home: "/", shell: "/bin/sh"}
	number, err := strconv.ParseUint(user, 10, 32)
	known := false
	for f := range records(passwd, 7) {
		uid, uerr := strconv.ParseUint(f[2], 10, 32)
		gid, gerr := strconv.ParseUint(f[3], 10, 32)
		if uerr != nil || gerr != nil || (f[0] != user && (err != nil || uid != number)) {
			continue
		}
		known = true
		a.name, a.uid, a.gid = f[0], uint32(uid), uint32(gid)
		if f[5] != "" {
			a.home = f[5]
		}
		if f[6] != "" {
			a.shell = f[6]
		}
		break
	}
	if !known {
		if err != nil {
			return a, fmt.Errorf("user %s is not in %s", user, passwd)
		}
		a.name, a.uid = user, uint32(number)
	}
	if !hasGroup {
		a.groups = memberships(group, a)
		return a, nil
	}
	gid, err := strconv.ParseUint(grp, 10, 32)
	for f := range records(group, 4) {
		id, perr := strconv.ParseUint(f[2], 10, 32)
		if perr == nil && f[0] == grp {
			gid, err = id, nil
			break
		}
	}
	if err != nil {
		return a, fmt.Errorf("group %s is not in %s", grp, group)
	}
	a.gid = uint32(gid)
	return a, nil
}

// memberships are the groups that name a as a member, and its own.
func memberships(group string, a account) []uint32 {
	out := []uint32{a.gid}
	for f := range records(group, 4) {
		gid, err := strconv.ParseUint(f[2], 10, 32)
		if err == nil && slices.Contains(strings.Split(f[3], ","), a.name) && !slices.Contains(out, uint32(gid)) {
			out = append(out, uint32(gid))
		}
	}
	return out
}

// records are a file's lines of at least n fields between colons.
func records(path string, n int) func(func([]string) bool) {
	return func(yield func([]string) bool) {
		text, _ := os.ReadFile(path)
		for line := range strings.Lines(string(text)) {
			if f := strings.Split(strings.TrimSpace(line), ":"); len(f) >= n && !yield(f) {
				return
			}
		}
	}
}

// credential is what a process of a's gets; nil for the agent's own user.
func (a account) credential() *syscall.Credential {
	if a.own {
		return nil
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid, Groups: a.groups}
}
