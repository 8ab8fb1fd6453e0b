package agent

import (
	"errors"
	"io/fs"
	"os"
)

// lruGen are the settings of the kernel's multi-generational LRU (Linux 6.1,
// Documentation/admin-guide/mm/multigen_lru.rst).
const lruGen = "/sys/kernel/mm/lru_gen/"

// preventThrashing has the kernel kill for want of memory as soon as the pages that were
// used within the last second no longer fit. Else a guest without swap reads its programs
// again and again first: a command that takes all memory was killed after 8 to 52 s, in
// which nothing else went on, and after 4 s with this (emulated, 512 MiB).
func preventThrashing() error {
	err := os.WriteFile(lruGen+"enabled", []byte("y"), 0)
	if err == nil {
		err = os.WriteFile(lruGen+"min_ttl_ms", []byte("1000"), 0)
	}
	if errors.Is(err, fs.ErrNotExist) { // a kernel without it
		return nil
	}
	return err
}
