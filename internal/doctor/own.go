package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/api"
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

func checkDatabase(ctx context.Context, e Env) Result {
	const cost = "bangerd can't start; the VMs' disks are untouched"
	name := e.Dirs.Database()
	if _, err := os.Lstat(name); err == nil {
		if err := unix.Access(name, unix.R_OK|unix.W_OK); err != nil {
			return Result{Status: Fail, Detail: fmt.Sprintf("%s can't be used: %v", name, err), Cost: cost, Fix: "chown $USER " + name + " && chmod 600 " + name}
		}
	}
	r, err := e.state(ctx, false)
	switch {
	case err != nil:
		return Result{Status: Warn, Detail: err.Error(), Cost: "it is not known whether the VMs' records can be read", Fix: hint.Of(err)}
	case r.Damage != "":
		return Result{Status: Fail, Detail: r.Damage, Cost: cost, Fix: cmp.Or(r.Hint, "banger doctor --fix")}
	case r.Database == "":
		return Result{Status: OK, Detail: "none yet: the first VM makes it"}
	}
	return Result{Status: OK, Detail: name}
}

func checkRecords(ctx context.Context, e Env) Result {
	r, err := e.state(ctx, false)
	switch {
	case err != nil:
		return Result{Status: Warn, Detail: err.Error(), Cost: "it is not known whether the VMs' records can be read", Fix: hint.Of(err)}
	case len(r.Lost) > 0:
		return Result{Status: Warn, Detail: "there is no record of what lies in " + strings.Join(r.Lost, "; "),
			Cost: "banger does not show these VMs; their disks are untouched", Fix: "copy what you need out of them, then remove the directories"}
	case len(r.Stale) > 0:
		return Result{Status: Warn, Detail: "the copy in the VM's directory can't be read: " + strings.Join(r.Stale, "; "),
			Cost: "should the database be lost, these VMs are lost with it", Fix: "banger daemon stop && banger doctor --fix"}
	}
	return Result{Status: OK, Detail: fmt.Sprintf("%d VMs", r.VMs)}
}

// stateLimit bounds `bangerd state`, which reads all records.
const stateLimit = time.Minute

// state asks bangerd how the VMs' records are.
func (e Env) state(ctx context.Context, fix bool) (api.StateReport, error) {
	program, err := e.FindDaemon()
	if err != nil {
		return api.StateReport{}, err
	}
	return e.State(ctx, program, fix)
}

// askState runs `bangerd state`.
func askState(ctx context.Context, program string, fix bool) (api.StateReport, error) {
	var r api.StateReport
	args := []string{"state"}
	if fix {
		args = append(args, "--fix")
	}
	return r, askJSON(ctx, stateLimit, &r, program, args...)
}

// Fix mends what is banger's own in the state directory, and says what it did, a
// sentence each. No daemon may run.
func Fix(ctx context.Context, e Env) ([]string, error) {
	r, err := e.state(ctx, true)
	if err == nil && r.NotFixed != "" {
		err = hint.Add(errors.New(r.NotFixed), r.Hint)
	}
	return r.Fixed, err
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
