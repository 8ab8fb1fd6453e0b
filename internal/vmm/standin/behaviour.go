package standin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// File holds a Behaviour, in a VM's directory or, for all VMs that have none of
// their own, in the directory above it.
const File = "standin.json"

// Behaviour is what a test asks a stand-in for. The zero value is a guest that
// does all that is asked of it, at once. Fields marked "at start" are read when
// the VMM starts, the others whenever they matter: a test may change the file
// while the VM runs.
type Behaviour struct {
	// LaunchError ends the VMM before it answers, with these words: the launch
	// fails. At start.
	LaunchError string `json:"launch_error,omitempty"`
	// Panic ends the boot with "Kernel panic - not syncing: " and these words on
	// the console, and then as a reset does. At start.
	Panic string `json:"panic,omitempty"`
	// ConsoleBytes is how much the guest writes to its console before it says
	// hello. At start.
	ConsoleBytes int64 `json:"console_bytes,omitempty"`
	// HelloDelayMillis is how long the guest boots, NoHello that it never says
	// hello. At start.
	HelloDelayMillis int64 `json:"hello_delay_ms,omitempty"`
	NoHello          bool  `json:"no_hello,omitempty"`
	// Protocol is the agent's channel.Protocol; 0 is this version's. At start.
	Protocol int `json:"protocol,omitempty"`
	// EndDelayMillis is how long the guest's services take to end when the host
	// asks the guest to; what is longer than the host's grace is forced. NoEnd is
	// a guest that was asked and goes on.
	EndDelayMillis int64 `json:"end_delay_ms,omitempty"`
	NoEnd          bool  `json:"no_end,omitempty"`
	// NoSync leaves the request to sync without an answer.
	NoSync bool `json:"no_sync,omitempty"`
	// AgentGone refuses new streams of all services; those that are open stay.
	AgentGone bool `json:"agent_gone,omitempty"`
	// OutOfMemory is the name of a process that the guest's kernel has killed for
	// want of memory.
	OutOfMemory string `json:"out_of_memory,omitempty"`
	// DiskFull is a host's disk that takes nothing: from the guest's command fill
	// on, the VMM holds the guest still until this is false. New streams wait, those
	// that are open go on.
	DiskFull bool `json:"disk_full,omitempty"`
	// ExitStatus is the VMM's when its guest ends. One that is not 0 is a VMM
	// that broke: Exit.Guest is "" then.
	ExitStatus int `json:"exit_status,omitempty"`
}

func (b Behaviour) helloDelay() time.Duration {
	return time.Duration(b.HelloDelayMillis) * time.Millisecond
}

func (b Behaviour) endDelay() time.Duration {
	return time.Duration(b.EndDelayMillis) * time.Millisecond
}

// Save writes b into dir for stand-ins to read. A reader sees the old file or
// the new one.
func (b Behaviour) Save(dir string) error {
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, "."+File)
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, File))
}

// load reads the behaviour of the VM whose directory is dir. No file is the zero
// value; a field that is not known is an error.
func load(dir string) (b Behaviour, err error) {
	for _, d := range []string{dir, filepath.Dir(dir)} {
		path := filepath.Join(d, File)
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return b, err
		}
		in := json.NewDecoder(bytes.NewReader(text))
		in.DisallowUnknownFields()
		if err := in.Decode(&b); err != nil {
			return b, fmt.Errorf("read %q: %w", path, err)
		}
		return b, nil
	}
	return b, nil
}
