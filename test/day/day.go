// Package day has the image that scenarios of a day's work run in: Debian's packages
// for it, built once into the user's cache, where it stays.
package day

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
)

// Image is its name.
const Image = "day"

// packages are those that it has beside the default image's, by name.
var packages = []string{"ansible-core", "build-essential", "busybox-static", "docker-compose", "docker.io", "golang-go",
	"linux-headers-cloud-amd64", "npm", "openssh-server", "podman", "postgresql", "python3-pip"}

// Ensure builds the image, by that banger, unless it is there with these packages.
func Ensure(ctx context.Context, banger string) error {
	state, err := os.MkdirTemp("", "banger-test-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(state)
	run := func(args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, banger, args...)
		cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+state, "XDG_RUNTIME_DIR="+state)
		cmd.Stderr = os.Stderr // its progress is ours
		return cmd.Output()
	}
	defer run("daemon", "stop")
	text, err := run("image", "list", "--json")
	if err != nil {
		return fmt.Errorf("list the images: %w", err)
	}
	var list []struct {
		Ref      string
		Packages []string
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return fmt.Errorf("read the list of images: %w", err)
	}
	for _, i := range list {
		if i.Ref == Image && slices.Equal(i.Packages, packages) {
			return nil
		}
	}
	args := []string{"image", "build", "--name", Image}
	for _, p := range packages {
		args = append(args, "--package", p)
	}
	if _, err := run(args...); err != nil {
		return fmt.Errorf("build image %q: %w", Image, err)
	}
	return nil
}
