package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

// The reason is named, and not what followed from it.
func TestNotSent(t *testing.T) {
	lost := errors.New("the VM is gone")
	for name, c := range map[string]struct {
		sent, ran error
		says      string
		want      string
	}{
		"all is well":                   {nil, nil, "", ""},
		"a file that can't be read":     {fmt.Errorf("read %q: %w", "f", fs.ErrPermission), nil, "read the stream: unexpected EOF", `read "f": permission denied`},
		"and the stream is cut":         {fs.ErrPermission, lost, "", "permission denied"},
		"the guest refuses":             {fmt.Errorf("send %q: %w", "f", errTaken), nil, "it is there", `the guest says: "it is there"`},
		"the VM ends":                   {errTaken, lost, "", "the VM is gone"},
		"the VM ends, and that is seen": {context.Canceled, lost, "", "the VM is gone"},
	} {
		got := ""
		if err := notSent(c.sent, c.ran, c.says); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
