package launch

import (
	"bytes"
	"debug/elf"

	"banger/internal/landlock"
)

// confine leaves only the order's files and sockets to this process and what it
// executes, and returns what could not be applied. None of it stops a start.
func confine(o order) (gaps []string) {
	var kept landlock.Kept
	if o.Sockets != AnySockets {
		if err := o.Sockets.restrict(); err != nil {
			gaps = append(gaps, "this kernel has no seccomp ("+err.Error()+"): a VMM can make sockets")
		} else {
			kept = landlock.Kept{Network: true, Unix: o.Sockets == NoSockets}
		}
	}
	if !o.Confined {
		return gaps
	}
	a := landlock.Access{
		Read:    toStrings(o.Read),
		Write:   toStrings(o.Write),
		Execute: append(toStrings(o.Execute), string(o.Path)),
	}
	if i := interpreter(string(o.Path)); i != "" {
		a.Execute = append(a.Execute, i)
	}
	if err := a.Restrict(); err != nil {
		return append(gaps, err.Error()+": a VMM can open all of your files")
	}
	return append(gaps, landlock.Gaps(kept)...)
}

// interpreter is the program that the kernel loads for the dynamically linked
// program at path (ld.so), or "".
func interpreter(path string) string {
	f, err := elf.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, min(p.Filesz, 4<<10)) // PATH_MAX
		if _, err := p.ReadAt(name, 0); err != nil {
			return ""
		}
		return string(bytes.TrimRight(name, "\x00"))
	}
	return ""
}
