// Package ssh is the guest's SSH service, for stock clients: ssh, scp, sftp, rsync, git,
// editors, Ansible. It answers on a port of the channel, so nothing of it listens on a
// network. Its sessions are processes of package agent/command, as those of exec are;
// files go by the agent's own SFTP server; connections are forwarded to the guest's own
// loopback only. There is no forwarding of an SSH agent, of X11 or from the guest.
package ssh

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"banger/internal/agent/command"
)

const (
	// handshakeLimit bounds the key exchange and the login. An emulated guest that is
	// busy takes seconds.
	handshakeLimit = 2 * time.Minute
	// maxChannels is how many channels one connection has at once, at most. Each may
	// have 2 MiB unread.
	maxChannels = 64
	// version is the server's, as a client is told it (RFC 4253, 4.2).
	version = "SSH-2.0-banger"
)

// Service answers SSH clients. Its methods may be called at once.
type Service struct {
	// Command starts the sessions' processes. It is set before Serve.
	Command *command.Service

	mu     sync.Mutex
	config *ssh.ServerConfig // nil before Identify
}

// Identify gives the service its host key, in OpenSSH's format, and the keys whose owners
// may log in, as anybody, each as a line of authorized_keys (sshd(8)). Connections that
// there are keep the old ones. On an error nothing has changed.
func (s *Service) Identify(host []byte, clients []string) error {
	signer, err := ssh.ParsePrivateKey(host)
	if err != nil {
		return fmt.Errorf("read the SSH host key: %w", err)
	}
	var allowed [][]byte
	for _, line := range clients {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return fmt.Errorf("read a client's SSH key: %w", err)
		}
		allowed = append(allowed, key.Marshal())
	}
	config := &ssh.ServerConfig{
		ServerVersion: version,
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			for _, k := range allowed {
				if bytes.Equal(k, key.Marshal()) {
					return &ssh.Permissions{}, nil
				}
			}
			return nil, errors.New("the key is not banger's")
		},
	}
	config.AddHostKey(signer)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = config
	return nil
}

// Serve answers connections until l is closed; those that came before Identify are
// closed. Connections that there are go on.
func (s *Service) Serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() { // ends with the connection
			defer c.Close()
			s.serve(c)
		}()
	}
}

// serve is one connection.
func (s *Service) serve(c net.Conn) {
	s.mu.Lock()
	config := s.config
	s.mu.Unlock()
	if config == nil {
		return
	}
	limit := time.AfterFunc(handshakeLimit, func() { c.Close() }) // not every carrier has deadlines
	conn, channels, requests, err := ssh.NewServerConn(c, config)
	if !limit.Stop() || err != nil {
		return
	}
	go ssh.DiscardRequests(requests) // ends with the connection
	var open sync.WaitGroup
	defer open.Wait()
	defer conn.Close()
	places := make(chan struct{}, maxChannels)
	for n := range channels {
		select {
		case places <- struct{}{}:
		default:
			n.Reject(ssh.ResourceShortage, fmt.Sprintf("there are %d channels, which is the most", maxChannels))
			continue
		}
		open.Go(func() { // ends with the channel, which ends with the connection
			defer func() { <-places }()
			switch n.ChannelType() {
			case "session":
				s.session(conn.User(), n)
			case "direct-tcpip":
				forward(n)
			default:
				n.Reject(ssh.UnknownChannelType, "the guest has none of this kind")
			}
		})
	}
}
