//go:build vmtest

// Package vm_test drives the built programs with real guests, under KVM where
// it is real and emulated elsewhere. Each script is named by the promise that
// it proves.
package vm_test

import (
	"testing"

	"banger/test/harness"
)

func Test(t *testing.T) { harness.Run(t) }
