package api

import (
	"runtime/debug"
	"sync"
)

// version is set by the linker (make build).
var version string

// ProgramVersion is the version of this build: what the linker was told, else
// what Go knows of it.
var ProgramVersion = sync.OnceValue(func() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "devel"
})
