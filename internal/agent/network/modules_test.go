package network

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A kernel that lacks a module gives no network, and the message names the module.
func TestMissingModule(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, lines ...string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("modules.builtin", "kernel/drivers/net/veth.ko", "kernel/net/netfilter/nf_tables.ko")
	write("modules.dep", "kernel/net/netfilter/nfnetlink_queue.ko.xz:", "kernel/net/netfilter/nft_queue.ko.xz: kernel/net/netfilter/nfnetlink_queue.ko.xz",
		"kernel/net/netfilter/nft_reject_inet.ko.xz:")
	if err := loadModules(dir); err == nil || err.Error() != "the kernel has no module nft_tproxy" {
		t.Errorf("loadModules = %v, want an error that names nft_tproxy", err)
	}
	if err := os.Remove(filepath.Join(dir, "modules.dep")); err != nil {
		t.Fatal(err)
	}
	if err := loadModules(dir); err == nil || !strings.Contains(err.Error(), "modules.dep") {
		t.Errorf("without modules.dep: %v", err)
	}
}
