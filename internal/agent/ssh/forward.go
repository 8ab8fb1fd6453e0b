package ssh

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// dialLimit bounds a connection to the guest's own loopback.
const dialLimit = 10 * time.Second

// lastWrites is how long a program in the guest has to take what a client sent before it
// went.
const lastWrites = 30 * time.Second

// loopback returns the addresses that a client means by host, if those are the guest's
// own loopback; nil if not. No name is looked up.
func loopback(host string) []string {
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return []string{"127.0.0.1", "::1"}
	}
	a, err := netip.ParseAddr(host)
	if err != nil || a.Zone() != "" || !a.Unmap().IsLoopback() {
		return nil
	}
	return []string{a.Unmap().String()}
}

// forward is one channel of the type direct-tcpip (RFC 4254, 7.2).
func forward(n ssh.NewChannel) {
	var to struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(n.ExtraData(), &to); err != nil {
		n.Reject(ssh.ConnectionFailed, "the address can't be read")
		return
	}
	addrs := loopback(to.Host)
	if addrs == nil || to.Port == 0 || to.Port > 65535 {
		n.Reject(ssh.Prohibited, "banger forwards to the guest's own loopback only")
		return
	}
	conn, err := dial(addrs, to.Port)
	if err != nil {
		n.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	defer conn.Close()
	ch, requests, err := n.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	sent := make(chan struct{})
	var copying sync.WaitGroup
	copying.Go(func() { // ends with the client's half, or by ch.Close below
		defer close(sent)
		if _, err := io.Copy(conn, ch); err != nil {
			ch.Close() // the guest's program takes no more
			return
		}
		conn.CloseWrite()
	})
	go func() { // ends with the channel
		ssh.DiscardRequests(requests)
		conn.SetWriteDeadline(time.Now().Add(lastWrites))
		<-sent
		conn.Close() // the client is gone: so is whoever would read
	}()
	_, err = io.Copy(ch, conn)
	if err == nil {
		err = ch.CloseWrite()
	}
	if err != nil { // a reset, or the client is gone
		ch.Close()
		conn.Close()
	}
	copying.Wait()
}

// dial connects to the first of addrs where somebody listens.
func dial(addrs []string, port uint32) (*net.TCPConn, error) {
	var err error
	for _, a := range addrs {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", net.JoinHostPort(a, strconv.FormatUint(uint64(port), 10)), dialLimit); err == nil {
			return c.(*net.TCPConn), nil
		}
	}
	return nil, fmt.Errorf("nothing answers at %s:%d in the guest", addrs[0], port)
}
