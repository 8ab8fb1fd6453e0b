package launch

import (
	"bytes"
	"debug/elf"

	"banger/internal/landlock"
)

// confine leaves only the order's files to this process and what it executes,
// and returns what could not be applied. None of it stops a start.
func confine(o order) (gaps []string) {
	if !o.Confined {
		return nil
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
		return []string{err.Error() + ": a VMM can open all of your files"}
	}
	return landlock.Gaps()
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
