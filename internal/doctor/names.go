package doctor

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"banger/internal/network/names"
	"banger/internal/unixsock"
)

// namesLimit bounds the question to the host's resolver.
const namesLimit = time.Second

// checkNames says whether the names of VMs are answered, and whether this host's resolver asks
// for them there.
func checkNames(ctx context.Context, e Env) Result {
	asking, cancel := context.WithTimeout(ctx, daemonLimit)
	defer cancel()
	c, err := unixsock.Dial(asking, e.Dirs.Socket())
	if err != nil {
		return Result{Status: OK, Detail: "NAME.vm is answered while bangerd runs, on " + names.Addr}
	}
	c.Close()
	problem, err := e.NamesProblem(asking)
	switch {
	case err != nil:
		return Result{Status: OK, Detail: "bangerd does not say whether it answers NAME.vm"} // its own check says more
	case problem != "":
		return Result{Status: Warn, Detail: problem, Cost: "NAME.vm does not resolve; banger vm ports shows addresses",
			Fix: "end what has that address, or leave it: bangerd tries again"}
	}
	asking, cancel = context.WithTimeout(ctx, namesLimit)
	defer cancel()
	found, err := e.Resolve(asking, names.Probe+".")
	if err == nil && slices.Contains(found, names.ProbeAddr.String()) {
		return Result{Status: OK, Detail: "NAME.vm resolves to the VM's own address"}
	}
	return Result{Status: OK, Detail: "NAME.vm is answered on " + names.Addr + ", where this host's resolver does not ask yet", Fix: namesLines(e)}
}

// namesLines are the lines that send the questions for names of VMs to bangerd, for the
// resolvers that the host has; for all of them if it has none.
func namesLines(e Env) string {
	host, port, _ := net.SplitHostPort(names.Addr)
	dnsmasq := fmt.Sprintf("server=/%s/%s#%s", names.Domain, host, port)
	all := []struct{ name, dir, lines string }{
		{"systemd-resolved", "systemd/resolved.conf", e.write("/etc/systemd/resolved.conf.d/banger.conf", fmt.Sprintf(`[Resolve]\nDNS=%s\nDomains=~%s\n`, names.Addr, names.Domain), "systemctl restart systemd-resolved")},
		{"NetworkManager", "NetworkManager", e.write("/etc/NetworkManager/conf.d/banger.conf", `[main]\ndns=dnsmasq\n`, "") + " && " +
			e.write("/etc/NetworkManager/dnsmasq.d/banger.conf", dnsmasq+`\n`, "systemctl reload NetworkManager")},
		{"dnsmasq", "dnsmasq.d", e.write("/etc/dnsmasq.d/banger.conf", dnsmasq+`\n`, "systemctl restart dnsmasq")},
	}
	var have, any []string
	for _, r := range all {
		line := "for " + r.name + ": " + r.lines
		any = append(any, line)
		if _, err := os.Stat(filepath.Join(e.Etc, r.dir)); err == nil {
			have = append(have, line)
		}
	}
	if have == nil {
		have = any
	}
	return strings.Join(have, "; or ")
}

// write is a line that writes a file, and what makes it count.
func (e Env) write(file, text, then string) string {
	line := fmt.Sprintf("sudo mkdir -p %s && printf '%s' | sudo tee %s", filepath.Dir(file), text, file)
	if then != "" {
		line += " && sudo " + then
	}
	return e.asUser(line)
}
