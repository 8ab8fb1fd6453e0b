//go:build !standin

package main

import "banger/internal/vmm"

// standIns are none in what users get.
func standIns(string) vmm.Drivers { return nil }
