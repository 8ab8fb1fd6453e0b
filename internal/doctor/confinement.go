package doctor

import (
	"context"
	"fmt"
	"strings"

	"banger/internal/landlock"
)

// checkConfinement says what of a VMM's confinement this host can't apply.
// `banger vm show` says it of a VM.
func checkConfinement(ctx context.Context, e Env) Result {
	abi, err := e.Landlock()
	gaps := landlock.GapsOf(abi, err)
	have := fmt.Sprintf("Landlock's ABI %d", abi)
	// A QEMU that is missing or broken has a check of its own.
	if path, err := e.Look("qemu-system-x86_64"); err == nil {
		if _, err := firstLine(ctx, path, "--version"); err == nil {
			if _, err := firstLine(ctx, path, "-sandbox", "on", "--version"); err != nil {
				gaps = append(gaps, "this QEMU was built without seccomp, its own filter of system calls")
			} else {
				have += " and QEMU's own filter of system calls"
			}
		}
	}
	if gaps == nil {
		return Result{Status: OK, Detail: have}
	}
	return Result{Status: Warn, Detail: strings.Join(gaps, "; "),
		Cost: "only where a guest takes over its VMM: then that has these rights of yours"}
}
