package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"banger/internal/channel"
)

// fcCmdline is what the driver and the supervisor give a guest.
const fcCmdline = "console=ttyS0 reboot=k panic=-1 pci=off i8042.noaux i8042.nomux i8042.dumbkbd loglevel=4"

// startFirecracker boots the measured VM's machine with another data disk by a
// file of configuration, which is the shortest way there is, and returns when the
// agent reports the root joined.
func (x *b) startFirecracker(dir, disk string) (_ *bare, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	l := x.model.order
	type m = map[string]any
	var drives []m
	for i, d := range l.Disks {
		if !d.ReadOnly {
			d.Path = disk
		}
		drives = append(drives, m{"drive_id": fmt.Sprintf("disk%d", i), "path_on_host": d.Path, "is_root_device": false, "is_read_only": d.ReadOnly, "cache_type": "Writeback"})
	}
	text, err := json.Marshal(m{
		"machine-config": m{"vcpu_count": l.VCPUs, "mem_size_mib": l.MemMiB},
		"boot-source":    m{"kernel_image_path": l.Kernel, "initrd_path": l.Initrd, "boot_args": fcCmdline},
		"drives":         drives,
		"vsock":          m{"guest_cid": 3, "uds_path": "vsock"},
		"entropy":        m{},
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600)
	}
	if err != nil {
		return nil, err
	}
	hellos, err := net.Listen("unix", filepath.Join(dir, fmt.Sprintf("vsock_%d", channel.PortHello)))
	if err != nil {
		return nil, err
	}
	b := &bare{carrier: channel.NewHybridCarrier(hellos, func(ctx context.Context) (*net.UnixConn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "unix", filepath.Join(dir, "vsock"))
		if err != nil {
			return nil, err
		}
		return c.(*net.UnixConn), nil
	}, func() {})}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	b.cmd = exec.Command(x.model.argv[0], "--no-api", "--config-file", "config.json", "--log-path", "log", "--level", "Error")
	b.cmd.Dir = dir
	begin := time.Now()
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	return b, b.join(begin)
}
