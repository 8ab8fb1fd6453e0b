package network

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFindModules(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"modules.dep": "kernel/drivers/net/veth.ko:\n" +
			"kernel/net/netfilter/nft_queue.ko.xz: kernel/net/netfilter/nfnetlink_queue.ko.xz kernel/net/netfilter/nfnetlink.ko.xz\n" +
			"kernel/net/netfilter/nfnetlink.ko.xz:",
		"modules.builtin": "kernel/net/ipv4/tcp_diag.ko\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m, err := openModules(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"veth": {"kernel/drivers/net/veth.ko"},
		"nft_queue": {
			"kernel/net/netfilter/nfnetlink.ko.xz", "kernel/net/netfilter/nfnetlink_queue.ko.xz", "kernel/net/netfilter/nft_queue.ko.xz",
		},
		"nfnetlink": {"kernel/net/netfilter/nfnetlink.ko.xz"},
		"tcp_diag":  nil,
	} {
		got, err := m.find(name)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("find(%q): %v (-want +got):\n%s", name, err, d)
		}
	}
	for _, name := range []string{"queue", "nf_tables"} {
		if got, err := m.find(name); err == nil {
			t.Errorf("find(%q) = %q, want an error: the kernel has none", name, got)
		}
	}
	// A kernel that lists nothing of what is built in may have all.
	os.Remove(filepath.Join(dir, "modules.builtin"))
	if got, err := m.find("nf_tables"); got != nil || err != nil {
		t.Errorf("without a list: find = %q, %v", got, err)
	}
}
