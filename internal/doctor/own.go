package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/hint"
	"banger/internal/unixsock"
)

func checkPrograms(_ context.Context, e Env) Result {
	path, err := e.FindDaemon()
	if err != nil {
		return Result{Status: Fail, Detail: err.Error(), Cost: "nothing but --help works", Fix: hint.Of(err)}
	}
	dir := filepath.Dir(path)
	for _, p := range []string{filepath.Join(dir, "banger-agent"), filepath.Join(dir, "..", "libexec", "banger", "banger-agent")} {
		if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() {
			return Result{Status: OK, Detail: path + ", " + filepath.Clean(p)}
		}
	}
	return Result{Status: Fail, Detail: "there is no banger-agent beside " + path, Cost: "no VM can boot", Fix: "make build, or install all of banger's programs together"}
}

func checkState(_ context.Context, e Env) Result {
	return checkDirectory(e.Dirs.State, "VMs can be neither kept nor run", "XDG_STATE_HOME")
}

func checkCache(_ context.Context, e Env) Result {
	return checkDirectory(e.Dirs.Cache, "images and kernels can't be kept", "XDG_CACHE_HOME")
}

// checkDirectory looks whether dir, or the first directory above it that is
// there, can be written.
func checkDirectory(dir, cost, variable string) Result {
	at, missing := existing(dir)
	err := unix.Access(at, unix.W_OK|unix.X_OK)
	if fi, serr := os.Stat(at); serr == nil && !fi.IsDir() {
		err = unix.ENOTDIR
	}
	if err != nil {
		detail := fmt.Sprintf("%s can't be written: %v", at, err)
		if missing {
			detail = fmt.Sprintf("%s can't be made: %s", dir, detail)
		}
		return Result{Status: Fail, Detail: detail, Cost: cost,
			Fix: fmt.Sprintf("make it writable for you, or set %s to a directory that is", variable)}
	}
	if missing {
		return Result{Status: OK, Detail: dir + ", not there yet"}
	}
	return Result{Status: OK, Detail: dir}
}

// existing returns dir, or the first above it that is there.
func existing(dir string) (at string, missing bool) {
	for at = dir; at != "/"; at = filepath.Dir(at) {
		if _, err := os.Stat(at); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return at, at != dir
}

// spaceWanted is what image, kernel, their building and a few VMs take, in
// bytes.
const spaceWanted = 3 << 30

func checkSpace(_ context.Context, e Env) Result {
	least := int64(-1)
	for _, d := range []string{e.Dirs.Cache, e.Dirs.State} {
		var st unix.Statfs_t
		at, _ := existing(d)
		if unix.Statfs(at, &st) != nil {
			continue // whoever can't be asked is told of by its own check
		}
		free := int64(st.Bavail) * st.Bsize
		if free < spaceWanted {
			return Result{Status: Warn, Detail: fmt.Sprintf("%d MiB are free for %s", free>>20, d),
				Cost: "an image or a VM's disk may find it full", Fix: "banger trash empty, or free space yourself"}
		}
		if least < 0 || free < least {
			least = free
		}
	}
	return Result{Status: OK, Detail: fmt.Sprintf("%d GiB are free", max(least, 0)>>30)}
}

func checkDatabase(_ context.Context, e Env) Result {
	const cost = "bangerd can't start; the VMs' disks are untouched"
	name := e.Dirs.Database()
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Result{Status: OK, Detail: "none yet: the first VM makes it"}
	}
	if err == nil {
		defer f.Close()
		err = unix.Access(name, unix.R_OK|unix.W_OK)
	}
	if err != nil {
		return Result{Status: Fail, Detail: fmt.Sprintf("%s can't be used: %v", name, err), Cost: cost, Fix: "chown $USER " + name + " && chmod 600 " + name}
	}
	// The magic string of https://www.sqlite.org/fileformat2.html, section 1.3.1.
	magic := make([]byte, 16)
	n, err := io.ReadFull(f, magic)
	if n > 0 && string(magic) != "SQLite format 3\x00" || n == 0 && !errors.Is(err, io.EOF) {
		return Result{Status: Fail, Detail: name + " is not a database", Cost: cost,
			Fix: "mv " + name + " " + name + ".broken: bangerd rebuilds it from the VMs' own records"}
	}
	return Result{Status: OK, Detail: name}
}

func checkLog(_ context.Context, e Env) Result {
	name := e.Dirs.DaemonLog()
	switch _, err := os.Stat(name); {
	case errors.Is(err, fs.ErrNotExist):
		return Result{Status: OK, Detail: "none yet"}
	case err == nil:
		err = unix.Access(name, unix.R_OK|unix.W_OK)
		if err == nil {
			return Result{Status: OK, Detail: name}
		}
		fallthrough
	default:
		return Result{Status: Fail, Detail: fmt.Sprintf("%s can't be read and written", name), Cost: "bangerd can't start", Fix: "chown $USER " + name + " && chmod 600 " + name}
	}
}

// daemonLimit bounds a daemon's answer.
const daemonLimit = 5 * time.Second

func checkDaemon(ctx context.Context, e Env) Result {
	ctx, cancel := context.WithTimeout(ctx, daemonLimit)
	defer cancel()
	c, err := unixsock.Dial(ctx, e.Dirs.Socket())
	if err != nil {
		return Result{Status: OK, Detail: "bangerd does not run: the next command starts it"}
	}
	c.Close()
	version, err := e.DaemonVersion(ctx)
	switch {
	case err != nil:
		return Result{Status: Fail, Detail: fmt.Sprintf("bangerd has its socket, but does not answer: %v", err),
			Cost: "every command waits for it; VMs and sessions go on", Fix: "kill bangerd: the next command starts another one, which finds its VMs"}
	case version != e.Version:
		return Result{Status: Warn, Detail: fmt.Sprintf("bangerd is version %.40q, this banger %.40q", version, e.Version),
			Cost: "what one of them knows the other may not", Fix: "banger daemon stop"}
	}
	return Result{Status: OK, Detail: "bangerd " + version + " answers on " + e.Dirs.Socket()}
}
