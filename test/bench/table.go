package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// row is one figure.
type row struct {
	what  string
	got   float64
	unit  string
	limit float64 // 0 is none
	more  bool    // the limit is the least, not the most
	of    string  // what the limit is made of
}

func (x *b) add(r row) {
	x.rows = append(x.rows, r)
	fmt.Fprintf(os.Stderr, "bench: %s: %s %s %s\n", r.what, number(r.got), r.unit, r.verdict())
}

func number(f float64) string {
	switch {
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}

// verdict says whether the limit holds, and by how much it is missed.
func (r row) verdict() string {
	if r.limit == 0 {
		return ""
	}
	if r.more {
		if r.got >= r.limit {
			return "kept"
		}
		return fmt.Sprintf("**missed by %.1f %%**", 100*(r.limit-r.got)/r.limit)
	}
	if r.got <= r.limit {
		return "kept"
	}
	return fmt.Sprintf("**missed by %.1f %%**", 100*(r.got-r.limit)/r.limit)
}

func (r row) asked() string {
	if r.limit == 0 {
		return ""
	}
	sign := "≤"
	if r.more {
		sign = "≥"
	}
	text := fmt.Sprintf("%s %s %s", sign, number(r.limit), r.unit)
	if r.of != "" {
		text += " (" + r.of + ")"
	}
	return text
}

// mark ends what is written by the program; people write below it.
const mark = "<!-- make bench writes what is above; what is below stays -->"

func (x *b) write(path string) error {
	var kept string
	if text, err := os.ReadFile(path); err == nil {
		_, kept, _ = strings.Cut(string(text), mark)
	}
	var w strings.Builder
	fmt.Fprintf(&w, "# Benchmarks\n\n`make bench` measures these figures, all in one run, and writes this table. Boots are medians of %d, transfers of\n256 MiB of %d, short commands of %d. The floor is the same QEMU with the same arguments, kernel, initramfs and disks,\nstarted by fork and exec alone.\n\n",
		x.runs, bulkRuns, often)
	fmt.Fprintf(&w, "%s\n\n", x.machine())
	x.table(&w)
	fmt.Fprintf(&w, "\n%s%s", mark, kept)
	if kept == "" {
		fmt.Fprintln(&w)
	}
	return os.WriteFile(path, []byte(w.String()), 0o644)
}

func (x *b) table(w io.Writer) {
	fmt.Fprintln(w, "| what | measured | asked | |\n|---|---:|---|---|")
	for _, r := range x.rows {
		fmt.Fprintf(w, "| %s | %s %s | %s | %s |\n", r.what, number(r.got), r.unit, r.asked(), r.verdict())
	}
}

// machine describes where this was measured.
func (x *b) machine() string {
	cpu := "an unknown CPU"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				cpu = strings.TrimSpace(value)
				break
			}
		}
	}
	var si unix.Sysinfo_t
	unix.Sysinfo(&si)
	var un unix.Utsname
	unix.Uname(&un)
	first := func(name string, args ...string) string {
		out, _ := exec.Command(name, args...).Output()
		line, _, _ := strings.Cut(string(out), "\n")
		return strings.TrimSpace(line)
	}
	return fmt.Sprintf("Measured on %s: %d cores of %s, %d GiB, Linux %s; %s, accelerator %s; %s; banger %s.",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), cpu, (uint64(si.Totalram)*uint64(si.Unit)+1<<29)>>30,
		unix.ByteSliceToString(un.Release[:]), first("qemu-system-x86_64", "--version"), x.vm.Accel, runtime.Version(), first(filepath.Join(x.bin, "banger"), "version"))
}
