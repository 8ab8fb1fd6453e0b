//go:build vmtest

package vm_test

import (
	"bytes"
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The parts of an edit, each a file below edits/N: one that is committed, one that is
// staged, one that is not, a link, and many small ones.
const edited = `e=edits/$i; mkdir -p $e/many; seq $((1000+i)) >$e/a; git add $e/a; git commit -qm "edit $i"; seq $((2000+i)) >$e/b; chmod +x $e/b; git add $e/b; seq $((3000+i)) >$e/c; ln -s "to $i" $e/l; for j in 1 2 3 4 5 6 7 8 9; do for n in 0 1 2 3 4 5 6 7 8 9; do echo "$i $j$n" >$e/many/$j$n; done; done; sync; echo edit $i`

// editing is a script that makes so many edits, and says each when the disk has it.
func (k *killed) editing(n int) string {
	first := k.last + 1
	k.last += n
	// Git syncs no loose objects by itself, which the next commit may need, and leaves its
	// locks when its machine dies.
	return fmt.Sprintf("rm -f .git/*.lock .git/refs/heads/*.lock; export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=core.fsync GIT_CONFIG_VALUE_0=all; set -e; i=%d; while test $i -le %d; do %s; i=$((i+1)); done", first, k.last, edited)
}

// hear notes the edits that a guest has acknowledged.
func (k *killed) hear(said []byte) {
	for line := range strings.Lines(string(said)) {
		if n, err := strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(line), "edit ")); err == nil {
			k.edits[n] = true
		}
	}
}

// parts are an edit's files, as git's trees have them: "MODE ID PATH".
func parts(i int) (list []string) {
	add := func(mode, name, text string) {
		id := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(text), text))
		list = append(list, fmt.Sprintf("%s %x edits/%d/%s", mode, id, i, name))
	}
	seq := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintln(&b, i+1)
		}
		return b.String()
	}
	add("100644", "a", seq(1000+i))
	add("100755", "b", seq(2000+i))
	add("100644", "c", seq(3000+i))
	add("120000", "l", fmt.Sprintf("to %d", i))
	for n := 10; n < 100; n++ {
		add("100644", fmt.Sprintf("many/%d", n), fmt.Sprintf("%d %d\n", i, n))
	}
	return list
}

// verify looks where each edit is: whole in one of the saved works, which those of a
// VM's disk are too by now, or in the user's tree.
func (k *killed) verify() {
	k.t.Helper()
	places := map[string]map[string]bool{"the user's tree": k.entries(filepath.Join(k.repo, ".git"), k.treeOf())}
	var saved []struct {
		ID, Dir string
		Work    struct{ Tree string }
	}
	if err := json.Unmarshal(k.must("saved", "list", "--all", "--json"), &saved); err != nil {
		k.t.Fatal(err)
	}
	for _, s := range saved {
		places[s.ID] = k.entries(filepath.Join(s.Dir, "git"), s.Work.Tree)
	}
	for i := range k.edits {
		var found []string
		for place, entries := range places {
			have := 0
			all := parts(i)
			for _, e := range all {
				if entries[e] {
					have++
				}
			}
			if have == len(all) {
				found = nil
				break
			}
			found = append(found, fmt.Sprintf("%d of %d in %s", have, len(all), place))
		}
		if found != nil {
			k.t.Errorf("edit %d is whole nowhere: %s", i, strings.Join(found, ", "))
		}
	}
}

// entries are those of a tree, as parts has them. No tree changes.
func (k *killed) entries(repo, tree string) map[string]bool {
	k.t.Helper()
	if k.trees[tree] == nil {
		set := map[string]bool{}
		for line := range strings.SplitSeq(k.git(k.dir, "--git-dir="+repo, "ls-tree", "-r", tree), "\n") {
			head, path, _ := strings.Cut(line, "\t")
			if f := strings.Fields(head); len(f) == 3 {
				set[f[0]+" "+f[2]+" "+path] = true
			}
		}
		k.trees[tree] = set
	}
	return k.trees[tree]
}

// treeOf is the tree of all of the user's files.
func (k *killed) treeOf() string { return k.treeFrom("HEAD") }

// treeFrom is treeOf with what rev tracks counted as tracked: git may ignore it.
func (k *killed) treeFrom(rev string) string {
	k.t.Helper()
	index := filepath.Join(k.dir, "index")
	k.env = []string{"GIT_INDEX_FILE=" + index}
	defer func() { k.env = nil; os.Remove(index) }()
	k.git(k.repo, "read-tree", rev)
	k.git(k.repo, "add", "-A")
	return k.git(k.repo, "write-tree")
}

// isWhole has an apply that was cut be taken back, as any command there does, and done
// again.
func (k *killed) isWhole(before string) {
	k.t.Helper()
	k.must("apply", "--check", "dev")
	var v struct{ Work struct{ Tree string } }
	if err := json.Unmarshal(k.must("vm", "workspace", "export", "dev", "--json"), &v); err != nil {
		k.t.Fatal(err)
	}
	if now := k.treeOf(); now != before && now != v.Work.Tree {
		k.t.Errorf("the user's tree is %s: before the apply it was %s, the guest's is %s\n%s", now, before, v.Work.Tree, k.git(k.repo, "diff", "--stat", before, now))
	}
	k.must("apply", "--yes", "dev")
	if now := k.treeOf(); now != v.Work.Tree {
		k.t.Errorf("after the apply the user's tree is %s, the guest's %s\n%s", now, v.Work.Tree, bytes.TrimSpace([]byte(k.git(k.repo, "diff", "--stat", v.Work.Tree, now))))
	}
}
