package supervisor

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"banger/internal/vmm"
)

// keysLimit is how long the guest may take to take keys; what it does not take is
// dropped, as by a serial line.
const keysLimit = 5 * time.Second

// serveKeys turns the connection into the guest's console: what comes is typed
// there, and what the console shows from now on goes back, until the client or the
// VMM is gone.
func (r *run) serveKeys(w http.ResponseWriter, req *http.Request) {
	if req.Header.Get("Upgrade") != Upgrade {
		refuse(w, &Refusal{Code: CodeInvalid, Message: "the console needs the header Upgrade: " + Upgrade})
		return
	}
	m := r.machine.Load()
	if m == nil {
		refuse(w, &Refusal{Code: CodeState, Message: "the VMM is not started yet"})
		return
	}
	t, ok := (*m).(vmm.Typer)
	if !ok {
		refuse(w, &Refusal{Code: CodeState, Message: "the VMM's console takes no keys"})
		return
	}
	shown, err := r.console.open(true)
	if err != nil {
		refuse(w, err)
		return
	}
	conn, keys, err := r.upgrade(w)
	if err != nil {
		shown.Close()
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var typing sync.WaitGroup
	typing.Go(func() { // ends with the client, or by conn.Close below
		io.Copy(typewriter{t.Keys()}, keys)
		cancel()
	})
	r.console.follow(ctx, conn, shown)
	conn.Close()
	typing.Wait()
}

// typewriter types what it can, and never fails: a guest that takes no keys now may
// take later ones.
type typewriter struct{ keys vmm.Keys }

func (t typewriter) Write(p []byte) (int, error) {
	t.keys.SetWriteDeadline(time.Now().Add(keysLimit))
	t.keys.Write(p)
	return len(p), nil
}
