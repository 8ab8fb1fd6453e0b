package command

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// interpreterError says that a program is there and what it is to be run by is not.
type interpreterError struct{ interpreter, why string }

func (e *interpreterError) Error() string {
	return fmt.Sprintf("its interpreter %q is not there%s", e.interpreter, e.why)
}

// maxLine is how much of a script's first line the kernel reads, in bytes
// (BINPRM_BUF_SIZE).
const maxLine = 256

// missing explains the kernel's ENOENT of executing path: the file itself is there.
func missing(path string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	f, oerr := os.Open(path)
	if oerr != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, maxLine)
	n, _ := io.ReadFull(f, head)
	head = head[:n]
	if script, ok := bytes.CutPrefix(head, []byte("#!")); ok {
		line, _, _ := strings.Cut(string(script), "\n")
		name, _, _ := strings.Cut(strings.TrimLeft(line, " \t"), " ")
		name, _, _ = strings.Cut(name, "\t")
		if strings.HasSuffix(line, "\r") {
			return &interpreterError{name, `: its first line ends with a carriage return, as Windows writes it (sed -i 's/\r$//' mends that)`}
		}
		return &interpreterError{name, ""}
	}
	e, eerr := elf.NewFile(f)
	if eerr != nil {
		return err
	}
	for _, p := range e.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, min(p.Filesz, maxLine))
		n, _ := p.ReadAt(name, 0)
		return &interpreterError{string(bytes.TrimRight(name[:n], "\x00")), ": it was made for another C library or another machine"}
	}
	return err
}
