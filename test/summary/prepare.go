package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// prepareGuests gets kernel and image into the user's cache, where they stay
// for the next time, and returns the variables that tell the drivers' tests
// where they are.
func prepareGuests() ([]string, error) {
	state, err := os.MkdirTemp("", "banger-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(state)
	env := append(os.Environ(), "XDG_STATE_HOME="+state, "XDG_RUNTIME_DIR="+state)
	begin := time.Now()
	banger := func(args ...string) ([]byte, error) {
		cmd := exec.Command("bin/banger", args...)
		cmd.Env, cmd.Stderr = env, os.Stdout // its progress is ours
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("banger %v: %w", args, err)
		}
		return out, nil
	}
	defer banger("daemon", "stop")
	// A VM that is made, though not started, has them both.
	if _, err := banger("vm", "create", "--no-start", "--name", "prepare"); err != nil {
		return nil, err
	}
	if _, err := banger("vm", "delete", "prepare"); err != nil {
		return nil, err
	}
	image, err := defaultPath(banger("image", "list", "--json"))
	if err != nil {
		return nil, err
	}
	kernel, err := defaultPath(banger("kernel", "list", "--json"))
	if err != nil {
		return nil, err
	}
	say("kernel and image are here (%.0f s)", time.Since(begin).Seconds())
	return []string{
		"BANGER_TEST_BASE=" + image,
		"BANGER_TEST_KERNEL=" + filepath.Join(kernel, "vmlinux"),
		"BANGER_TEST_INITRD=" + filepath.Join(kernel, "modules.cpio"),
		"BANGER_TEST_MODULES=" + filepath.Join(kernel, "modules.ext4"),
	}, nil
}

func defaultPath(list []byte, err error) (string, error) {
	if err != nil {
		return "", err
	}
	var all []struct {
		Path    string
		Default bool
	}
	if err := json.Unmarshal(list, &all); err != nil {
		return "", err
	}
	for _, a := range all {
		if a.Default {
			return a.Path, nil
		}
	}
	return "", fmt.Errorf("no default among %s", list)
}
