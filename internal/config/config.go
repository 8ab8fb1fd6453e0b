// Package config reads the user's config.toml: what is taken where a flag is
// not given. It writes nothing.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// File is the file's name in the configuration directory.
const File = "config.toml"

// maxFile bounds the file, in bytes.
const maxFile = 1 << 20

// Config is the file's content; a zero field is not set.
type Config struct {
	// VMM is the default of --vmm: "auto" or a driver's name.
	VMM string `toml:"vmm"`
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
