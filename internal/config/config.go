// Package config reads the user's config.toml: what is taken where a flag is
// not given. It writes nothing.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"banger/internal/vm"
)

// File is the file's name in the configuration directory.
const File = "config.toml"

// maxFile bounds the file, in bytes.
const maxFile = 1 << 20

// Config is the file's content; a zero field is not set.
type Config struct {
	// VMM is the default of --vmm: "auto" or a driver's name.
	VMM string `toml:"vmm"`
	// SavedMaxPerVM and SavedMaxTotal bound the disk space of what is kept of one VM's
	// workspaces, and of all.
	SavedMaxPerVM Size `toml:"saved_max_per_vm"`
	SavedMaxTotal Size `toml:"saved_max_total"`
	// UnsavedMax is the number of VMs with work that was not saved, deleted ones in the
	// trash included, from which on no new VM is made.
	UnsavedMax *int `toml:"unsaved_max"`
	// Network is for all VMs, where a flag says nothing else.
	Network Network `toml:"network"`
}

// Network is the table [network].
type Network struct {
	Net    string   `toml:"net"`    // the default of --net
	Egress string   `toml:"egress"` // the default of --egress
	Allow  []string `toml:"allow"`  // rules beside those of flags, which beat them
	Deny   []string `toml:"deny"`
	// Mirrors opens the hosts of the host's package clients; nil is true.
	Mirrors *bool `toml:"mirrors"`
	// TrustHostCA gives the guest the certificates that the host's administrator added; nil is
	// true.
	TrustHostCA *bool `toml:"trust_host_ca"`
	// Proxy is the upstream proxy of all VMs, and NoProxy the names that are reached
	// without it, as NO_PROXY has them.
	Proxy   string `toml:"proxy"`
	NoProxy string `toml:"no_proxy"`
	// ProxyResolves leaves names that only the proxy can resolve to it, also without a
	// rule.
	ProxyResolves bool `toml:"proxy_resolves"`
}

// Size is a size that is written as those of flags are: "512M", "4G", a bare number is
// MiB. As an integer type it would be decoded without UnmarshalText.
type Size struct{ Bytes int64 }

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := vm.ParseMiB(string(text))
	if err != nil {
		return err
	}
	if n > math.MaxInt64>>20 {
		return fmt.Errorf("size %q is too large", text)
	}
	s.Bytes = n << 20
	return nil
}

// Bounds are the bounds of saved and unsaved work.
type Bounds struct {
	SavedPerVM, SavedTotal int64 // bytes
	UnsavedVMs             int
}

// Bounds are those of the file, and the default of each key that is not set. Saved work
// may take twice what the trash may (10 GiB), because nothing can make it again, and
// one VM a fifth of that. A VM that was not saved keeps its whole disk: 20 of them are
// more than anybody keeps on purpose, and less than fills a usual disk.
func (c Config) Bounds() Bounds {
	b := Bounds{SavedPerVM: 4 << 30, SavedTotal: 20 << 30, UnsavedVMs: 20}
	if n := c.SavedMaxPerVM.Bytes; n > 0 {
		b.SavedPerVM = n
	}
	if n := c.SavedMaxTotal.Bytes; n > 0 {
		b.SavedTotal = n
	}
	if c.UnsavedMax != nil {
		b.UnsavedVMs = *c.UnsavedMax
	}
	return b
}

// Load reads the file at path; one that is not there sets nothing. An error
// names the file, and where something in it is wrong, line and key.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, nil
	}
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	if len(text) > maxFile {
		return Config{}, fmt.Errorf("read %s: it is larger than %d bytes", path, maxFile)
	}
	c, err := parse(text)
	if err != nil {
		return Config{}, fmt.Errorf("read %s: %w", path, err)
	}
	return c, nil
}

func parse(text []byte) (Config, error) {
	var c Config
	err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&c)
	var unknown *toml.StrictMissingError
	var wrong *toml.DecodeError
	switch {
	case err == nil && c.UnsavedMax != nil && *c.UnsavedMax < 1:
		return Config{}, fmt.Errorf("key %q: %d is below 1", "unsaved_max", *c.UnsavedMax)
	case err == nil:
		return c, nil
	case errors.As(err, &unknown) && len(unknown.Errors) > 0:
		line, _ := unknown.Errors[0].Position()
		return Config{}, fmt.Errorf("line %d: key %q is not known", line, strings.Join(unknown.Errors[0].Key(), "."))
	case errors.As(err, &wrong):
		line, _ := wrong.Position()
		if key := strings.Join(wrong.Key(), "."); key != "" {
			return Config{}, fmt.Errorf("line %d: key %q: %s", line, key, strings.TrimPrefix(wrong.Error(), "toml: "))
		}
		return Config{}, fmt.Errorf("line %d: %s", line, strings.TrimPrefix(wrong.Error(), "toml: "))
	}
	return Config{}, err
}
