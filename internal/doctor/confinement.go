package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"banger/internal/landlock"
)

// checkConfinement says what of the VMMs' confinement this host can't apply;
// `banger vm show` says it of a VM.
func checkConfinement(ctx context.Context, e Env) Result {
	abi, err := e.Landlock()
	have := []string{fmt.Sprintf("Landlock's ABI %d", abi)}
	// QEMU makes no sockets, and is kept from it by the launcher's own filter.
	gaps := landlock.GapsOf(abi, err, landlock.Kept{Network: true, Unix: true})
	// Firecracker needs Unix sockets.
	more := landlock.GapsOf(abi, err, landlock.Kept{Network: true})
	if _, missing := e.Look("firecracker"); missing == nil && !slices.Equal(gaps, more) {
		for _, g := range more {
			gaps = append(gaps, "on Firecracker, "+g)
		}
	}
	// A QEMU that is missing or broken has a check of its own.
	if path, missing := e.Look("qemu-system-x86_64"); missing == nil {
		if _, broken := firstLine(ctx, path, "--version"); broken == nil {
			if _, err := firstLine(ctx, path, "-sandbox", "on", "--version"); err == nil {
				have = append(have, "QEMU's own filter of system calls")
			} else {
				gaps = append(gaps, "this QEMU was built without seccomp, its own filter of system calls")
			}
		}
	}
	if gaps == nil {
		return Result{Status: OK, Detail: strings.Join(have, " and ")}
	}
	return Result{Status: Warn, Detail: strings.Join(gaps, "; "),
		Cost: "only where a guest takes over its VMM: then that has these rights of yours"}
}
