package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"banger/internal/channel"
	"banger/internal/session"
	"banger/internal/vm"
)

const (
	// exitProxy is what ssh(1) itself ends with if there is no connection.
	exitProxy = 255
	// leaveLimit is how long a client may take to leave once the guest's end is closed:
	// one that leaves first closes its input.
	leaveLimit = 500 * time.Millisecond
)

// sshProxy is what ssh-config has as ProxyCommand: nobody types it.
func (a *app) sshProxy() *cobra.Command {
	return &cobra.Command{
		Use: "ssh-proxy NAME.vm", Short: "Carry an SSH client's bytes to a VM", Hidden: true,
		Args:              args(1, 1, "a VM's name and .vm"),
		ValidArgsFunction: nothing,
		RunE: func(cmd *cobra.Command, words []string) error {
			err := a.proxy(cmd.Context(), words[0])
			if err == nil {
				return nil
			}
			if cmd.Context().Err() == nil { // else the client has ended it
				a.note("%s", oneLine(err))
			}
			return statusError(exitProxy)
		},
	}
}

// oneLine is an error and what to type next: what an SSH client's user sees of it.
func oneLine(err error) string {
	text := err.Error()
	if lines := advice(err); len(lines) > 0 {
		text += ": " + lines[len(lines)-1]
	}
	return strings.ReplaceAll(text, "\n", "; ")
}

// proxy copies bytes between stdin and stdout and the SSH service of the VM that host
// names, until one side ends.
func (a *app) proxy(ctx context.Context, host string) error {
	name, ok := strings.CutSuffix(host, ".vm")
	if err := vm.CheckName(name); err != nil || !ok {
		return fmt.Errorf("%.80q is no VM's name and .vm", host)
	}
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	where, err := c.VMSession(ctx, name)
	if err != nil {
		return err
	}
	if where.Name != name && string(where.ID) != name { // its host key is pinned by these
		return fmt.Errorf("%q is only the beginning of an id: ssh %s.vm", name, where.Name)
	}
	began := time.Now()
	stream, err := a.dialGuest(ctx, c, where, channel.PortSSH)
	if err != nil {
		return a.explainDial(ctx, c, where, err)
	}
	defer stream.Close()
	defer context.AfterFunc(ctx, func() { stream.Close() })()
	defer a.tellSilence(ctx, where, true)()
	left := make(chan struct{})
	go func() { // ends with the client, or with this program
		io.Copy(stream, a.stdin)
		stream.CloseWrite()
		close(left)
	}()
	if _, err := io.Copy(a.stdout, stream); errors.Is(err, syscall.EPIPE) {
		return nil
	}
	select {
	case <-left:
		return nil
	case <-ctx.Done():
		return nil
	case <-time.After(leaveLimit):
	}
	return a.explainBreak(ctx, c, where, began, session.ErrBroken)
}
