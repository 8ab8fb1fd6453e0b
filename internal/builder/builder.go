// Package builder writes the file systems of images. The writer is a guest: a machine with
// nothing but kernel and initramfs, and an empty ext4 on a disk, whose agent unpacks a tar
// stream there by its kernel's own ext4. So nothing is mounted on the host, no tool of the
// host's reads what a stranger made, and whatever a tar can say the file system can hold.
package builder

import (
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

// The machine: the stream passes through, and the guest's cache holds what is not
// written yet.
const (
	memMiB = 512
	vcpus  = 1
)

// bootLimit is how long the guest may take to say hello.
const bootLimit = 5 * time.Minute

// Write writes the entries of a tar, a file, into an ext4 at path, which it makes. dir is
// an empty directory for the machine. each is called with the bytes that the guest has
// taken. An error leaves rubbish at path. ctx's end ends the machine.
func Write(ctx context.Context, b Boot, tree *os.File, path, dir string, each func(done, all int64)) (untar.Stats, error) {
	s, err := measure(ctx, tree)
	if err != nil {
		return untar.Stats{}, fmt.Errorf("read the tree: %w", err)
	}
	if err := format(ctx, path, s); err != nil {
		return untar.Stats{}, err
	}
	all, err := tree.Seek(0, io.SeekCurrent)
	if err == nil {
		_, err = tree.Seek(0, io.SeekStart)
	}
	if err != nil {
		return untar.Stats{}, err
	}
	got, err := unpack(ctx, b, &counter{r: tree, each: func(n int64) { each(n, all) }}, path, dir)
	if err != nil {
		return got, fmt.Errorf("write the file system in a guest: %w", err)
	}
	return got, nil
}

func unpack(ctx context.Context, b Boot, tree *counter, path, dir string) (_ untar.Stats, err error) {
	run := filepath.Join(dir, "run")
	if err := os.Mkdir(run, 0o700); err != nil {
		return untar.Stats{}, err
	}
	m, err := b.Driver.Launch(ctx, vmm.Spec{
		ID: vm.NewID(), Dir: dir, RunDir: run, VCPUs: vcpus, MemMiB: memMiB, Kernel: b.Kernel, Initrd: b.Initrd,
		Cmdline: "quiet", Found: b.Found, Disks: []vmm.Disk{{Path: path}},
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
	tree.stall = time.AfterFunc(stallLimit, func() { giveUp(errStalled) })
	defer tree.stall.Stop()
	got, err := ask(ctx, stream, tree)
	if errors.Is(context.Cause(ctx), errStalled) {
		err = errStalled
	}
	return got, err
}

// stallLimit is how long the guest may take nothing, and how long to write what is in its
// memory at the end.
const stallLimit = 5 * time.Minute

var errStalled = fmt.Errorf("the guest has taken nothing for %v", stallLimit)

// maxAnswer bounds what a guest answers, in bytes.
const maxAnswer = 64 << 10

func ask(ctx context.Context, stream channel.Stream, tree io.Reader) (untar.Stats, error) {
	var out limited
	if err := session.RunAgentOn(ctx, stream, []string{untar.Program, "/dev/vda"}, tree, &out); err != nil {
		return untar.Stats{}, err
	}
	var r untar.Result
	switch {
	case json.Unmarshal(out, &r) != nil:
		return r.Stats, fmt.Errorf("its agent says %.200q", string(out))
	case r.Error != "":
		return r.Stats, fmt.Errorf("%.500q", r.Error)
	}
	return r.Stats, nil
}

// limited keeps the beginning of what is written.
type limited []byte

func (l *limited) Write(p []byte) (int, error) {
	*l = append(*l, p[:min(len(p), maxAnswer-len(*l))]...)
	return len(p), nil
}

// tailBytes is how much of the guest's console an error quotes.
const tailBytes = 1 << 10

// counter tells how much was read, and puts stall off.
type counter struct {
	r     io.Reader
	each  func(int64)
	stall *time.Timer
	n     int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, err
	}
	c.stall.Reset(stallLimit)
	c.each(c.n)
	return n, err
}
