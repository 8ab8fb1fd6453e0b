// Guest is PID 1 of the contract suite's machines: it loads whatever modules
// its initramfs holds, says hello, and then does on the control port what one
// line tells it to. It is as little as a guest can be, so that what fails is
// the driver's doing.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/channel"
)

func main() {
	fmt.Println("vmmtest guest: up")
	fmt.Println("vmmtest guest:", run())
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// run returns only on an error.
func run() error {
	for dir, kind := range map[string]string{"/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs"} {
		os.Mkdir(dir, 0o755)
		if err := unix.Mount(kind, dir, kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	if err := loadModules(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	guest, err := channel.OpenGuest(ctx)
	cancel()
	if err != nil {
		return err
	}
	l, err := guest.Listen(channel.PortControl)
	if err != nil {
		return err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	if err := guest.Hello(context.Background(), channel.Hello{
		Protocol: channel.Protocol, Agent: "vmmtest", BootID: strings.TrimSpace(string(boot)),
	}); err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go serve(c) // ends with the guest at the latest
	}
}

// loadModules loads all modules below /, in whatever order the kernel accepts.
func loadModules() error {
	var left []string
	err := filepath.WalkDir("/", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == "/proc" || path == "/sys" || path == "/dev":
			return filepath.SkipDir
		case filepath.Ext(path) == ".ko":
			left = append(left, path)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for {
		var refused []string
		for _, path := range left {
			image, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if err := unix.InitModule(image, ""); err != nil && !errors.Is(err, unix.EEXIST) {
				refused = append(refused, path)
			}
		}
		if len(refused) == 0 || len(refused) == len(left) {
			return nil // what is never accepted is for other VMMs
		}
		left = refused
	}
}

// serve obeys one line and answers with one.
func serve(c net.Conn) {
	defer c.Close()
	line, err := bufio.NewReader(io.LimitReader(c, 4<<10)).ReadString('\n')
	if err != nil {
		return
	}
	answer, err := obey(strings.Fields(line))
	if err != nil {
		answer = "error: " + err.Error()
	}
	fmt.Fprintln(c, answer)
}

func obey(words []string) (string, error) {
	switch {
	case len(words) == 1 && words[0] == "reset":
		return "", unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	case len(words) == 1 && words[0] == "poweroff":
		return "", unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	case len(words) == 1 && words[0] == "panic":
		return "", os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0)
	case len(words) == 1 && words[0] == "cpus":
		text, err := os.ReadFile("/sys/devices/system/cpu/online")
		return strings.TrimSpace(string(text)), err
	case len(words) == 2 && words[0] == "read":
		return read(words[1])
	case len(words) == 3 && words[0] == "write":
		return "written", write(words[1], words[2])
	}
	return "", fmt.Errorf("order %q is not known", words)
}

// read returns the first word of a block device.
func read(device string) (string, error) {
	f, err := os.Open("/dev/" + device)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sector := make([]byte, 512)
	if _, err := io.ReadFull(f, sector); err != nil {
		return "", err
	}
	word, _, _ := strings.Cut(string(sector), "\n")
	return word, nil
}

// write puts word on a block device's first sector and flushes it.
func write(device, word string) error {
	f, err := os.OpenFile("/dev/"+device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	sector := make([]byte, 512)
	copy(sector, word+"\n")
	if _, err := f.WriteAt(sector, 0); err != nil {
		return err
	}
	return f.Sync()
}
