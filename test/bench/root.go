package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"banger/internal/channel"
	frame "banger/internal/channel/exec"
	"banger/internal/session"
)

//go:embed root.pl
var rootScript []byte

// Roots that are measured, on the same VM: the thin device, the image's file system
// itself, and an overlay of an empty file system on it.
const (
	rootThin = iota
	rootPlain
	rootOverlay
	roots
)

const (
	rootRuns  = 3
	rootLimit = 1.5 // times plain ext4, of each row
	rootMean  = 1.2 // of their geometric mean
	rowsLimit = 10 * time.Minute
)

// root measures the guest's root beside a plain ext4 and an overlay.
func (x *b) root() error {
	var took [roots]map[string][]float64
	for n := range took {
		took[n] = map[string][]float64{}
	}
	var names []string
	for run := range rootRuns {
		m, err := x.rootGuest(fmt.Sprintf("root-%d", run))
		if err != nil {
			return err
		}
		for n := range roots {
			which := (n + run) % roots // none is always the first
			got, err := m.rows(which)
			if err != nil {
				m.close()
				return err
			}
			for _, r := range got {
				took[which][r.what] = append(took[which][r.what], r.got)
				if !slices.Contains(names, r.what) {
					names = append(names, r.what)
				}
			}
		}
		m.close()
	}
	mean := 0.0
	for _, name := range names {
		plain, thin := median(took[rootPlain][name]), median(took[rootThin][name])
		x.add(row{what: "root, " + name + ": plain ext4", got: plain, unit: "ms"})
		x.add(row{what: "the same, overlayfs", got: median(took[rootOverlay][name]), unit: "ms"})
		x.add(row{what: "the same, the guest's root", got: thin, unit: "ms", limit: rootLimit * plain, of: fmt.Sprintf("%g × plain ext4", rootLimit)})
		mean += math.Log(thin / plain)
	}
	x.add(row{what: "root, geometric mean of the rows", got: math.Exp(mean / float64(len(names))), unit: "× plain ext4", limit: rootMean})
	return nil
}

// rootGuest boots the measured VM's twin with three disks more: the image as a file
// system of the root's size, an empty one of that size, and the image once more.
func (x *b) rootGuest(name string) (*bare, error) {
	disk, err := x.freshDisk(name)
	if err != nil {
		return nil, err
	}
	image := x.model.order.Disks[0].Path
	plain, empty := filepath.Join(x.dir, name+".plain"), filepath.Join(x.dir, name+".empty")
	if err := copySparsely(image, plain); err != nil {
		return nil, err
	}
	size := strconv.FormatInt(x.vm.Spec.DiskMiB, 10) + "M"
	if out, err := exec.Command("sh", "-ec", `PATH=$PATH:/sbin:/usr/sbin; truncate -s $1 "$2" "$3"; e2fsck -fy "$2" || test $? = 1; resize2fs "$2"; mke2fs -q -F -t ext4 -I 256 -i 16384 "$3"`,
		"sh", size, plain, empty).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make disks: %w: %s", err, out)
	}
	args := x.bareArgs(disk)
	for n, d := range []struct {
		path string
		only string
	}{{plain, "off"}, {empty, "off"}, {image, "on"}} {
		args = append(args, "-blockdev", fmt.Sprintf("driver=raw,node-name=more%d,read-only=%s,file.driver=file,file.filename=%s,file.read-only=%s,file.locking=off", n, d.only, d.path, d.only),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=more%d,addr=%#x", n, 16+n))
	}
	m, err := startQEMU(args, false)
	if err != nil {
		return nil, err
	}
	err = m.run(func() error { return nil }, "sh", "-ec", `until systemctl is-system-running | grep -q -x -e running -e degraded; do sleep 0.5; done; sleep 5
		mkdir /plain /lower /upper /overlay; mount -o noatime,noinit_itable /dev/vdd /plain; mount -o noatime,noinit_itable /dev/vde /upper; mount -o ro,noload /dev/vdf /lower; mkdir /upper/u /upper/w
		mount -t overlay overlay -o lowerdir=/lower,upperdir=/upper/u,workdir=/upper/w /overlay`)
	if err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// rows runs the script on one of the guest's roots.
func (m *bare) rows(which int) ([]row, error) {
	dir := [roots]string{rootThin: "/", rootPlain: "/plain", rootOverlay: "/overlay"}[which]
	ctx, cancel := context.WithTimeout(context.Background(), rowsLimit)
	defer cancel()
	s, err := m.carrier.Dial(ctx, channel.PortExec)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	status, err := session.Run(ctx, s, session.Options{
		Request: frame.Request{Argv: frame.Args("perl", "-", dir, dir)}, Stdin: bytes.NewReader(rootScript), Stdout: &out, Stderr: os.Stderr,
	})
	if err != nil || status.ExitCode() != 0 {
		return nil, fmt.Errorf("measure %s: status %d, %v", dir, status.ExitCode(), err)
	}
	var rows []row
	for line := range strings.Lines(out.String()) {
		at := strings.LastIndexByte(strings.TrimSpace(line), ' ')
		if at < 0 {
			return nil, fmt.Errorf("measure %s: %q", dir, line)
		}
		ms, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row{what: line[:at], got: ms})
	}
	return rows, nil
}
