//go:build !standin

package main

import "banger/internal/supervisor"

// standIns are none in what users get.
func standIns(string) supervisor.Drivers { return nil }
