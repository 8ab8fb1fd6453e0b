package kvm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests of KVM's ioctl interface and parts of its structures (Linux,
// Documentation/virt/kvm/api.rst and include/uapi/linux/kvm.h; x86-64).
const (
	kvmGetAPIVersion       = 0xae00
	kvmCreateVM            = 0xae01
	kvmGetVCPUMmapSize     = 0xae04
	kvmCreateVCPU          = 0xae41
	kvmSetUserMemoryRegion = 0x4020ae46
	kvmSetTSSAddr          = 0xae47
	kvmRun                 = 0xae80
	kvmSetRegs             = 0x4090ae82
	kvmGetSregs            = 0x8138ae83
	kvmSetSregs            = 0x4138ae84

	apiVersion = 12 // for good, since Linux 2.6.22

	exitIO, exitHLT = 2, 5 // struct kvm_run.exit_reason

	regsSize, regRSP, regRIP, regRFLAGS = 144, 6 * 8, 16 * 8, 17 * 8 // struct kvm_regs

	// struct kvm_sregs begins with cs, ds, es, fs, gs, ss; then tr, ldt, gdt, idt,
	// and the control registers.
	sregsSize, segmentSize, segments    = 312, 24, 6
	sregCR0, sregCR3, sregCR4, sregEFER = 224, 240, 248, 264

	runExitReason, runIO = 8, 32 // struct kvm_run
)

// The guest's memory, from address 0: a page of code with its stack at the end,
// and the three levels of a page table that maps the first 2 MiB to themselves.
const (
	code       = 0x1000
	stack      = 0x2000 // its end
	tables     = 0x2000
	memorySize = 0x5000
)

// turns of the guest's loop: 5 ms of a CPU, 0.1 s of one that is itself emulated,
// and 15 s or more of a KVM that interprets each instruction (PVM: 1.5 to 3 µs a
// turn, measured). Such a KVM runs every instruction right, and yet no kernel.
const (
	turns = 10_000_000
	port  = 0x3f8
	sum   = turns * (turns + 1) / 2 & 0xffff
)

// program adds 1 to turns, keeps the sum on the stack while it loads the page table
// anew, writes it to a port and halts.
var program = []byte{
	0x31, 0xc0, // xor %eax, %eax
	0xb9, turns & 0xff, turns >> 8 & 0xff, turns >> 16 & 0xff, turns >> 24, // mov $turns, %ecx
	0x01, 0xc8, // add %ecx, %eax
	0xe2, 0xfc, // loop to the add
	0x50,             // push %rax
	0x0f, 0x20, 0xd9, // mov %cr3, %rcx
	0x0f, 0x22, 0xd9, // mov %rcx, %cr3
	0x58,                               // pop %rax
	0xba, port & 0xff, port >> 8, 0, 0, // mov $port, %edx
	0x66, 0xef, // out %ax, (%dx)
	0xf4, // hlt
}

// runGuest makes a VM by device, runs program in it as a kernel would run (64-bit
// mode, ring 0, paging), and compares what it says. It may hang for good.
func runGuest(device string) error {
	dev, err := os.OpenFile(device, os.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer dev.Close()
	version, err := ioctl(int(dev.Fd()), "KVM_GET_API_VERSION", kvmGetAPIVersion, 0)
	if err != nil {
		return err
	}
	if version != apiVersion {
		return fmt.Errorf("KVM's API is version %d, want %d", version, apiVersion)
	}
	vm, err := ioctl(int(dev.Fd()), "KVM_CREATE_VM", kvmCreateVM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(vm)
	memory, err := unix.Mmap(-1, 0, memorySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("map the guest's memory: %w", err)
	}
	defer unix.Munmap(memory)
	copy(memory[code:], program)
	const present, writable, large = 1 << 0, 1 << 1, 1 << 7
	for i, entry := range []uint64{tables + 0x1000, tables + 0x2000, large} {
		binary.LittleEndian.PutUint64(memory[tables+i*0x1000:], entry|present|writable)
	}
	// Three pages of KVM's own, which Intel's CPUs without real mode want.
	if _, err := ioctl(vm, "KVM_SET_TSS_ADDR", kvmSetTSSAddr, 0xfffbd000); err != nil {
		return err
	}
	region := struct {
		slot, flags                          uint32
		guestAddress, size, userspaceAddress uint64
	}{0, 0, 0, uint64(len(memory)), uint64(uintptr(unsafe.Pointer(&memory[0])))}
	if _, err := ioctlAt(vm, "KVM_SET_USER_MEMORY_REGION", kvmSetUserMemoryRegion, unsafe.Pointer(&region)); err != nil {
		return err
	}
	vcpu, err := ioctl(vm, "KVM_CREATE_VCPU", kvmCreateVCPU, 0)
	if err != nil {
		return err
	}
	defer unix.Close(vcpu)
	var sregs [sregsSize]byte
	if _, err := ioctlAt(vcpu, "KVM_GET_SREGS", kvmGetSregs, unsafe.Pointer(&sregs)); err != nil {
		return err
	}
	longMode(&sregs)
	if _, err := ioctlAt(vcpu, "KVM_SET_SREGS", kvmSetSregs, unsafe.Pointer(&sregs)); err != nil {
		return err
	}
	var regs [regsSize]byte
	binary.NativeEndian.PutUint64(regs[regRIP:], code)
	binary.NativeEndian.PutUint64(regs[regRSP:], stack)
	binary.NativeEndian.PutUint64(regs[regRFLAGS:], 2) // its one bit that is always set
	if _, err := ioctlAt(vcpu, "KVM_SET_REGS", kvmSetRegs, unsafe.Pointer(&regs)); err != nil {
		return err
	}
	size, err := ioctl(int(dev.Fd()), "KVM_GET_VCPU_MMAP_SIZE", kvmGetVCPUMmapSize, 0)
	if err != nil {
		return err
	}
	state, err := unix.Mmap(vcpu, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map the vCPU's state: %w", err)
	}
	defer unix.Munmap(state)
	return watch(vcpu, state)
}

// longMode makes the registers those of a kernel: 64-bit mode, ring 0, paging.
func longMode(sregs *[sregsSize]byte) {
	put := binary.NativeEndian.PutUint64
	put(sregs[sregCR0:], 1<<31|1<<16|1<<5|1<<4|1<<1|1<<0) // PG WP NE ET MP PE
	put(sregs[sregCR3:], tables)
	put(sregs[sregCR4:], 1<<5)        // PAE
	put(sregs[sregEFER:], 1<<10|1<<8) // LMA LME
	for i := range segments {
		// struct kvm_segment: base, limit, selector, type, present, dpl, db, s, l, g.
		s := sregs[i*segmentSize:]
		put(s, 0)
		binary.NativeEndian.PutUint32(s[8:], 0xffffffff)
		kind, db, l, selector := byte(3), byte(1), byte(0), uint16(16) // data
		if i == 0 {
			kind, db, l, selector = 11, 0, 1, 8 // 64-bit code
		}
		binary.NativeEndian.PutUint16(s[12:], selector)
		copy(s[14:], []byte{kind, 1, 0, db, 1, l, 1})
	}
}

// watch runs the guest to its end.
func watch(vcpu int, state []byte) error {
	said := false
	for {
		if _, err := ioctl(vcpu, "KVM_RUN", kvmRun, 0); err != nil {
			return err
		}
		switch reason := binary.NativeEndian.Uint32(state[runExitReason:]); reason {
		case exitIO:
			// struct kvm_run.io: direction, size, port, count, data's offset.
			at := binary.NativeEndian.Uint64(state[runIO+8:])
			if p := binary.NativeEndian.Uint16(state[runIO+2:]); p != port || at > uint64(len(state)-2) {
				return fmt.Errorf("the guest wrote to port %#x, want %#x", p, port)
			}
			if got := binary.NativeEndian.Uint16(state[at:]); got != sum {
				return fmt.Errorf("the guest adds up to %d, want %d", got, sum)
			}
			said = true
		case exitHLT:
			if !said {
				return errors.New("the guest halted without a word")
			}
			return nil
		default:
			return fmt.Errorf("the guest stopped for KVM's reason %d, want its word and its halt", reason)
		}
	}
}

// ioctl makes a request with a number for an argument.
func ioctl(fd int, name string, request, arg uintptr) (int, error) {
	return retry(name, func() (uintptr, unix.Errno) {
		n, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, arg)
		return n, e
	})
}

// ioctlAt makes a request about the structure at p.
func ioctlAt(fd int, name string, request uintptr, p unsafe.Pointer) (int, error) {
	return retry(name, func() (uintptr, unix.Errno) {
		n, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(p))
		return n, e
	})
}

// retry calls again what a signal interrupted, as Go's scheduler sends some.
func retry(name string, call func() (uintptr, unix.Errno)) (int, error) {
	for {
		switch n, e := call(); e {
		case unix.EINTR:
		case 0:
			return int(n), nil
		default:
			return 0, fmt.Errorf("%s: %w", name, e)
		}
	}
}
