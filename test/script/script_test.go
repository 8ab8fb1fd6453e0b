// Package script_test drives the built programs where no guest is needed. Each
// script is named by the promise that it proves.
package script_test

import (
	"testing"

	"banger/test/harness"
)

func Test(t *testing.T) { harness.Run(t) }
