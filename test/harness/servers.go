package harness

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// serverName is what guests call the host's loopback.
const serverName = "host.banger.internal"

// certificate makes one for serverName that signs itself, and adds it to the file, for
// clients to trust.
func certificate(file string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		return tls.Certificate{}, err
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: serial.String()}, // clients look for signers by it
		DNSNames: []string{serverName}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return tls.Certificate{}, err
	}
	defer f.Close()
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.Encode(f, &pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// servePostgres is PostgreSQL's beginning: the client speaks first, and asks for TLS
// (https://www.postgresql.org/docs/current/protocol-flow.html, "SSL Session Encryption").
func servePostgres(c net.Conn, cert tls.Certificate) {
	request := make([]byte, 8)
	if _, err := io.ReadFull(c, request); err != nil || !bytes.Equal(request, []byte{0, 0, 0, 8, 4, 210, 22, 47}) {
		return
	}
	if _, err := c.Write([]byte("S")); err != nil {
		return
	}
	s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
	startup := make([]byte, 1<<10)
	if n, err := s.Read(startup); err != nil || n < 8 {
		return
	}
	const fields = "SFATAL\x00C28000\x00Mnobody logs in here\x00\x00"
	fmt.Fprintf(s, "E\x00\x00\x00%c%s", 4+len(fields), fields)
	s.CloseWrite()
}

// serveSMTP takes one mail (RFC 5321) and puts it into the file.
func serveSMTP(c net.Conn, file string) {
	fmt.Fprintf(c, "220 %s ESMTP\r\n", serverName)
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " ")
		switch verb {
		case "DATA":
			fmt.Fprint(c, "354 go on\r\n")
			var text strings.Builder
			for line = ""; line != ".\r\n"; text.WriteString(line) {
				if line, err = in.ReadString('\n'); err != nil {
					return
				}
			}
			if os.WriteFile(file, []byte(text.String()), 0o600) != nil {
				return
			}
			fmt.Fprint(c, "250 taken\r\n")
		case "QUIT":
			fmt.Fprint(c, "221 bye\r\n")
			return
		default:
			fmt.Fprint(c, "250 ok\r\n")
		}
	}
}

func sshHostKey() (ssh.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(key)
}

// serveSSH lets everybody fetch and push the repositories in dir, and nothing else.
func serveSSH(c net.Conn, key ssh.Signer, dir string) {
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(key)
	_, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests) // ends with c
	for n := range channels {
		ch, requests, err := n.Accept()
		if err != nil {
			return
		}
		go func() { // ends with the channel
			defer ch.Close()
			for r := range requests {
				var line struct{ Command string }
				ok := r.Type == "exec" && ssh.Unmarshal(r.Payload, &line) == nil
				if r.WantReply {
					r.Reply(ok, nil)
				}
				if ok {
					code := runGit(ch, line.Command, dir)
					ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{code}))
					return
				}
			}
		}()
	}
}

// runGit runs git's half of a fetch or a push, as a client asks for it: git-upload-pack '/NAME'.
func runGit(ch ssh.Channel, line, dir string) (status uint32) {
	verb, arg, _ := strings.Cut(line, " ")
	if verb != "git-upload-pack" && verb != "git-receive-pack" {
		fmt.Fprintf(ch.Stderr(), "no such command: %q\n", line)
		return 127
	}
	repo := filepath.Join(dir, filepath.Clean("/"+strings.Trim(arg, "'")))
	cmd := exec.Command("git", strings.TrimPrefix(verb, "git-"), repo)
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(ch.Stderr(), err)
		return 126
	}
	go func() { // ends with the channel
		io.Copy(in, ch)
		in.Close()
	}()
	if err := cmd.Wait(); err != nil {
		return 1
	}
	return 0
}
