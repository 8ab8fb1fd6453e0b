//go:build vmtest

package vm_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// edits are what a case does in the guest: $n is a number that was not used before, $r
// a random one below 10.
var edits = []string{
	`echo "$n" >f$r`,
	`mkdir -p d$r/e; seq $n >d$r/e/f; ln -sf ../e d$r/l`,
	`head -c $((n*100)) /dev/urandom >bin$r`,
	`rm -rf f$r d$r`,
	`rm -rf d$r; echo "now a file" >d$r`,
	`rm -rf f$r; mkdir f$r; echo "now in a directory" >f$r/x`,
	`chmod +x f$r; printf 'a\r\nb\r\n' >crlf$r`,
	`git mv f$r moved$n`,
	`git add -A; git commit -qm "commit $n"`,
	`git add -N .; echo staged >s$r; git add s$r`,
	`git commit -q --amend --allow-empty -m "amended $n"`,
	`git checkout -q -b topic/$n/x`,
	`git checkout -q --detach`,
	`git stash -q -u; git stash pop -q`,
	`echo "*.ignored" >.gitignore; echo i >x.ignored`,
	`rm -f .gitignore`,
	`printf x >"$(printf 'a\nb\377')"; printf x >"-dash $r"`,
	`git branch side$n; echo 1 >both; git add both; git commit -qm ours$n; git checkout -q side$n; echo 2 >both; git add both; git commit -qm theirs$n; git merge -q -`,
}

// TestRandomWork brings random edits of a real guest's out and into the user's tree and
// refs: 10 cases of what package workspace tries without a guest.
func TestRandomWork(t *testing.T) {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("go test -args -seed %d", s)
	k := newKilled(t, rand.New(rand.NewPCG(s, 2)))
	for n := range 10 {
		var script strings.Builder
		for range 2 + k.r.IntN(5) {
			fmt.Fprintf(&script, "n=%d%d; r=%d; (%s) >/dev/null 2>&1\n", n+1, script.Len(), k.r.IntN(10), edits[k.r.IntN(len(edits))])
		}
		script.WriteString(`export GIT_INDEX_FILE=/tmp/index; cp -p .git/index /tmp/index; git add -A; git write-tree; git for-each-ref --format='%(objectname) %(refname:lstrip=2)' refs/heads`)
		k.log = append(k.log, script.String())
		tree, heads, _ := strings.Cut(string(k.must("vm", "exec", "dev", "--", "sh", "-c", script.String())), "\n")
		k.must("apply", "--yes", "dev")
		k.must("fetch", "dev")
		if now := k.treeFrom("refs/banger/dev/work"); now != tree {
			t.Errorf("case %d: after apply the host's tree is %s, the guest's %s", n+1, now, tree)
		}
		if got := k.git(k.repo, "for-each-ref", "--format=%(objectname) %(refname:lstrip=4)", "refs/banger/dev/heads"); got != strings.TrimSpace(heads) {
			t.Errorf("case %d: the guest's branches are\n%s\nwhat was fetched is\n%s", n+1, heads, got)
		}
		if got := k.git(k.repo, "rev-parse", "refs/banger/dev/work^{tree}"); got != tree {
			t.Errorf("case %d: the tree that was fetched is %s, the guest's %s", n+1, got, tree)
		}
		if t.Failed() {
			t.Fatalf("what was done:\n%s", strings.Join(k.log, "\n"))
		}
	}
	var v struct{ Work struct{ Files, Commits int } }
	if err := json.Unmarshal(k.must("vm", "workspace", "export", "--json", "dev"), &v); err != nil {
		t.Fatal(err)
	}
	t.Logf("figures: 10 cases; %d files and %d commits at the end", v.Work.Files, v.Work.Commits)
	k.must("vm", "delete", "-f", "--discard", "dev")
	k.must("daemon", "stop")
}
