package testhost

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"banger/internal/image"
)

// AddArtifacts hands in what VMs are made of, from this user's cache: kernels,
// the default image and more of other names. What is not there is left out. Empty
// disks are: gigabytes of zeroes to read, and made in a moment.
func (h Hand) AddArtifacts(more ...string) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	names := []string{"kernels"}
	for _, name := range append([]string{image.Default}, more...) {
		ref := "images/refs/" + name
		digest, err := os.ReadFile(filepath.Join(cache, "banger", ref))
		if err == nil {
			names = append(names, ref, "images/"+strings.TrimPrefix(strings.TrimSpace(string(digest)), "sha256:"))
		}
	}
	for _, name := range names {
		dir := filepath.Join(cache, "banger", name)
		if _, err := os.Stat(dir); err == nil {
			h["cache/banger/"+name] = dir
		}
	}
	return nil
}

// Firecracker is this machine's: $BANGER_TEST_FIRECRACKER, else what PATH has,
// else "".
func Firecracker() string {
	if fc := os.Getenv("BANGER_TEST_FIRECRACKER"); fc != "" {
		return fc
	}
	fc, _ := exec.LookPath("firecracker")
	return fc
}

// Environ are the variables of a user of what is handed in: the programs are
// found, and what VMs are made of is there.
func Environ() []string {
	return []string{"PATH=" + Handed + "/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "XDG_CACHE_HOME=" + Handed + "/cache"}
}
