package launch

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sockets says which sockets a program may make, connect and bind, beside those
// that it inherits.
type Sockets int

// What a program may have: any sockets, those of the host's file system and
// abstract names alone (no network), none.
const (
	AnySockets Sockets = iota
	UnixSockets
	NoSockets
)

// Offsets in struct seccomp_data (linux/seccomp.h), in bytes; the domain is
// socket(2)'s first argument, of which the kernel takes 32 bits.
const (
	seccompNumber = 0
	seccompArch   = 4
	seccompDomain = 16
)

// x32 marks the numbers of x86-64's calls with 32-bit pointers (asm/unistd.h).
const x32 = 0x40000000

// filter is a seccomp program that answers the calls that s forbids with EPERM,
// and all calls of the CPU's other instruction sets, whose numbers are others.
// io_uring goes with them, as it makes and connects sockets without those calls.
func filter(s Sockets) []unix.SockFilter {
	const (
		load    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		atLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		answer  = unix.BPF_RET | unix.BPF_K
	)
	forbid := unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)}
	allow := unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ALLOW}
	// A jump counts the instructions that it leaves out.
	f := []unix.SockFilter{
		{Code: load, K: seccompArch},
		{Code: equal, Jt: 1, K: unix.AUDIT_ARCH_X86_64},
		forbid,
		{Code: load, K: seccompNumber},
		{Code: atLeast, Jf: 1, K: x32},
		forbid,
	}
	calls := []uint32{unix.SYS_IO_URING_SETUP}
	if s == NoSockets {
		calls = append(calls, unix.SYS_SOCKET, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN)
	}
	for _, call := range calls {
		f = append(f, unix.SockFilter{Code: equal, Jf: 1, K: call}, forbid)
	}
	return append(f,
		unix.SockFilter{Code: equal, Jt: 1, K: unix.SYS_SOCKET},
		allow,
		unix.SockFilter{Code: load, K: seccompDomain},
		unix.SockFilter{Code: equal, Jt: 1, K: unix.AF_UNIX},
		forbid,
		allow,
	)
}

// restrict leaves this thread, and what it executes, the sockets of s, for good. It
// needs no_new_privs.
func (s Sockets) restrict() error {
	f := filter(s)
	prog := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	_, _, e := unix.Syscall(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)))
	if e != 0 {
		return e
	}
	return nil
}
