package command

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"

	"golang.org/x/sys/unix"
)

// enter returns an error if a can't make dir its working directory.
func (a account) enter(dir string) error {
	err := a.asUser(func() error {
		fd, err := unix.Open(dir+"/.", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) // as chdir(2): it takes the right to search
		if err == nil {
			unix.Close(fd)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("working directory %s is not there", dir)
	}
	if err != nil {
		return fmt.Errorf("enter working directory %s as %s: %w", dir, a.name, err)
	}
	return nil
}

// asUser calls do on a thread that has a's rights to files.
func (a account) asUser(do func() error) error {
	if a.own || a.uid == 0 {
		return do()
	}
	done := make(chan error)
	go func() { // ends with do
		// Never unlocked: the thread ends with the goroutine, and its rights with it.
		runtime.LockOSThread()
		unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0) // this thread's alone; unix.Setgroups is all threads'
		unix.SetfsgidRetGid(int(a.gid))
		unix.SetfsuidRetUid(int(a.uid))
		done <- do()
	}()
	return <-done
}
