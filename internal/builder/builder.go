// Package builder writes the file systems of images. The writer is a guest: a machine with
// nothing but kernel and initramfs, an empty ext4 on one disk and a tar as another, whose
// agent unpacks the tar by its kernel's own ext4. So nothing is mounted on the host, no tool of the
// host's reads what a stranger made, and whatever a tar can say the file system can hold.
package builder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"banger/internal/channel"
	"banger/internal/channel/control"
	"banger/internal/session"
	"banger/internal/untar"
	"banger/internal/vm"
	"banger/internal/vmm"
	"banger/internal/vmm/program"
)

// Boot is what a builder's machine boots from.
type Boot struct {
	Driver vmm.Driver
	Found  vmm.Probe // of the driver's
	Kernel string    // path of the vmlinux
	Initrd string
}

// The machine: the tar passes through, and the guest's cache holds what is not
// written yet.
const (
	memMiB = 512
	vcpus  = 1
)

// bootLimit is how long the guest may take to say hello.
const bootLimit = 5 * time.Minute

// Write writes the entries of a tar, a file that has its name, into an ext4 at path, which
// it makes. dir is an empty directory for the machine. each is called with the bytes that
// the guest has read. An error leaves rubbish at path. ctx's end ends the machine.
func Write(ctx context.Context, b Boot, tree *os.File, path, dir string, each func(done, all int64)) (untar.Stats, error) {
	s, err := measure(ctx, tree)
	if err != nil {
		return untar.Stats{}, fmt.Errorf("read the tree: %w", err)
	}
	if err := format(ctx, path, s); err != nil {
		return untar.Stats{}, err
	}
	all, err := tree.Seek(0, io.SeekCurrent)
	if err != nil {
		return untar.Stats{}, err
	}
	got, err := writeInGuest(ctx, b, tree.Name(), path, dir, func(n int64) { each(min(n, all), all) })
	if err != nil {
		return got, fmt.Errorf("write the file system in a guest: %w", err)
	}
	return got, nil
}

func writeInGuest(ctx context.Context, b Boot, tree, path, dir string, each func(int64)) (_ untar.Stats, err error) {
	run := filepath.Join(dir, "run")
	if err := os.Mkdir(run, 0o700); err != nil {
		return untar.Stats{}, err
	}
	m, err := b.Driver.Launch(ctx, vmm.Spec{
		ID: vm.NewID(), Dir: dir, RunDir: run, VCPUs: vcpus, MemMiB: memMiB, Kernel: b.Kernel, Initrd: b.Initrd,
		Cmdline: "quiet", Found: b.Found, Disks: []vmm.Disk{{Path: path}, {Path: tree, ReadOnly: true}},
	})
	if err != nil {
		return untar.Stats{}, err
	}
	console := program.NewTail(tailBytes)
	read := make(chan struct{})
	go func() { io.Copy(console, m.Console()); close(read) }() // ends with the machine
	defer func() {
		m.Close()
		<-read
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w; its console ends with %q", err, console.String())
		}
	}()
	booting, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	if _, err := m.Carrier().Hello(booting); err != nil {
		return untar.Stats{}, fmt.Errorf("wait for its hello: %w", err)
	}
	bare := control.NewClient(func(ctx context.Context) (net.Conn, error) { return m.Carrier().Dial(ctx, channel.PortControl) })
	if _, err := bare.Identity(booting, control.Identity{Bare: true}); err != nil {
		return untar.Stats{}, err
	}
	stream, err := m.Carrier().Dial(booting, channel.PortExec)
	if err != nil {
		return untar.Stats{}, err
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	stall := time.AfterFunc(stallLimit, func() { giveUp(errStalled) })
	defer stall.Stop()
	got, err := ask(ctx, stream, func(n int64) {
		stall.Reset(stallLimit)
		each(n)
	})
	if errors.Is(context.Cause(ctx), errStalled) {
		err = errStalled
	}
	return got, err
}

// stallLimit is how long the guest may read nothing, and how long to write what is in its
// memory at the end.
const stallLimit = 5 * time.Minute

var errStalled = fmt.Errorf("the guest has read nothing for %v", stallLimit)

// maxAnswer bounds a line of what a guest answers, in bytes.
const maxAnswer = 64 << 10

func ask(ctx context.Context, stream channel.Stream, each func(read int64)) (untar.Stats, error) {
	out := answers{each: each}
	if err := session.RunAgentOn(ctx, stream, []string{untar.Program, "/dev/vda", "/dev/vdb"}, nil, &out); err != nil {
		return untar.Stats{}, err
	}
	switch r := out.last; {
	case !r.Final:
		return r.Stats, fmt.Errorf("its agent says %.200q", out.line)
	case r.Error != "":
		return r.Stats, fmt.Errorf("%.500q", r.Error)
	default:
		return r.Stats, nil
	}
}

// answers takes what a guest answers, and keeps the last line.
type answers struct {
	each func(read int64)
	line []byte // that is not whole yet, or that can't be read
	last untar.Result
}

func (a *answers) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		part, after, whole := bytes.Cut(rest, []byte("\n"))
		rest = after
		if len(a.line)+len(part) > maxAnswer {
			return 0, fmt.Errorf("its agent's answer is longer than %d bytes", maxAnswer)
		}
		a.line = append(a.line, part...)
		if !whole {
			break
		}
		var r untar.Result
		if err := json.Unmarshal(a.line, &r); err != nil {
			return 0, fmt.Errorf("its agent says %.200q", a.line)
		}
		a.line, a.last = a.line[:0], r
		if !r.Final {
			a.each(r.Read)
		}
	}
	return len(p), nil
}

// tailBytes is how much of the guest's console an error quotes.
const tailBytes = 1 << 10
