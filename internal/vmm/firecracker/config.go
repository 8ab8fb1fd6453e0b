package firecracker

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"banger/internal/vmm"
)

// Names in the VMM's working directory.
const (
	fileAPI    = "api.sock"
	fileVsock  = "vsock"
	fileKernel = "kernel"
	fileInitrd = "initrd"
	fileDisk   = "disk" // and its number
)

// maxDisks is what fits between the other devices: each takes an interrupt, of
// which the machine has 19 for virtio-mmio devices.
const maxDisks = 16

// baseCmdline is the driver's own part of the guest's command line. reboot=k
// and panic=-1 make every end of the guest but a power-off a reset by the
// keyboard's controller, which ends Firecracker; that controller has no mouse
// and no multiplexer to wait for.
const baseCmdline = "console=ttyS0 reboot=k panic=-1 pci=off i8042.noaux i8042.nomux i8042.dumbkbd"

// guestCID is the guest's address on its vsock; the host knows it by its
// socket, so all guests may have the same one.
const guestCID = 3

// cmdline is the guest's whole command line.
func cmdline(s vmm.Spec) string { return strings.TrimSpace(baseCmdline + " " + s.Cmdline) }

// check refuses what Firecracker would not take.
func check(s vmm.Spec) error {
	switch {
	case s.VCPUs > maxVCPUs:
		return fmt.Errorf("%d vCPUs: Firecracker takes 1 to %d", s.VCPUs, maxVCPUs)
	case len(s.Disks) > maxDisks:
		return fmt.Errorf("%d disks: this machine takes %d", len(s.Disks), maxDisks)
	case len(cmdline(s)) > vmm.MaxCmdline:
		return fmt.Errorf("command line of %d bytes: the kernel reads %d", len(cmdline(s)), vmm.MaxCmdline)
	}
	return s.Check()
}

type (
	machineConfig struct {
		VCPUs  int   `json:"vcpu_count"`
		MemMiB int64 `json:"mem_size_mib"`
	}
	bootSource struct {
		Kernel  string `json:"kernel_image_path"`
		Initrd  string `json:"initrd_path"`
		Cmdline string `json:"boot_args"`
	}
	drive struct {
		ID       string `json:"drive_id"`
		Path     string `json:"path_on_host"`
		Root     bool   `json:"is_root_device"`
		ReadOnly bool   `json:"is_read_only"`
		// Cache is Writeback: the guest's flushes reach the disk.
		Cache string `json:"cache_type"`
	}
	drivePath struct {
		ID   string `json:"drive_id"`
		Path string `json:"path_on_host"`
	}
	vsock struct {
		CID  int    `json:"guest_cid"`
		Path string `json:"uds_path"`
	}
	action struct {
		Type string `json:"action_type"`
	}
)

// configure tells Firecracker all of the machine.
func configure(ctx context.Context, c *client, s vmm.Spec) error {
	type call struct {
		path string
		body any
	}
	calls := []call{
		{"/machine-config", machineConfig{s.VCPUs, s.MemMiB}},
		{"/boot-source", bootSource{fileKernel, fileInitrd, cmdline(s)}},
	}
	for i, d := range s.Disks {
		name := diskName(i)
		calls = append(calls, call{"/drives/" + name, drive{ID: name, Path: name, ReadOnly: d.ReadOnly, Cache: "Writeback"}})
	}
	calls = append(calls,
		call{"/vsock", vsock{guestCID, fileVsock}},
		call{"/entropy", struct{}{}},
	)
	for _, k := range calls {
		if err := c.put(ctx, k.path, k.body); err != nil {
			return err
		}
	}
	return nil
}

// boot starts the machine that was configured.
func boot(ctx context.Context, c *client) error {
	return c.put(ctx, "/actions", action{"InstanceStart"})
}

func diskName(i int) string { return fileDisk + strconv.Itoa(i) }
