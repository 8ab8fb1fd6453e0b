// Package sshconfig is what stock SSH clients are told so that they reach VMs: a
// configuration of banger's own, and the one Include by which a user's has it.
package sshconfig

import (
	"fmt"
	"strings"
)

// Config says how NAME.vm is reached. All paths are absolute.
type Config struct {
	Program    string   // banger
	Env        []string // KEY=VALUE pairs that the program needs
	Key        string   // the client's private key
	KnownHosts string
}

// Text is the configuration (ssh_config(5)). It is one block of hosts, and sets what a
// user's block for all hosts may set otherwise. A path that such a file can't have is an
// error.
func (c Config) Text() (string, error) {
	for _, path := range []string{c.Key, c.KnownHosts} {
		if err := check(path); err != nil {
			return "", err
		}
	}
	command, err := c.command()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("# Made by banger ssh-config, and written anew by it. It is for stock clients: ssh NAME.vm\n")
	// The host goes to a shell in single quotes, in which only a single quote means
	// something; old versions of ssh take any host.
	b.WriteString("Host *.vm \"!*'*\"\n")
	for _, kv := range [][2]string{
		{"ProxyCommand", command},
		{"HostName", "%h"},
		{"CanonicalizeHostname", "no"}, // always makes dev.vm.corp.example of it
		{"Port", "22"},
		{"User", "root"},
		{"IdentityFile", `"` + c.Key + `"`},
		{"IdentitiesOnly", "yes"},
		{"IdentityAgent", "none"},
		{"PubkeyAuthentication", "yes"},
		{"PreferredAuthentications", "publickey"},
		{"HostKeyAlgorithms", "ssh-ed25519"},
		{"UserKnownHostsFile", `"` + c.KnownHosts + `"`},
		{"GlobalKnownHostsFile", "/dev/null"},
		{"StrictHostKeyChecking", "yes"},
		{"CheckHostIP", "no"},
		{"UpdateHostKeys", "no"},
		{"VerifyHostKeyDNS", "no"},
		{"ProxyUseFdpass", "no"},
		{"AddKeysToAgent", "no"},
		{"ForwardAgent", "no"},
		{"ForwardX11", "no"},
		{"ForwardX11Trusted", "no"},
	} {
		fmt.Fprintf(&b, "    %s %s\n", kv[0], kv[1])
	}
	return b.String(), nil
}

// command is the ProxyCommand, for a shell.
func (c Config) command() (string, error) {
	var words []string
	if len(c.Env) > 0 {
		words = append(append(words, "env"), c.Env...)
	}
	words = append(words, c.Program, "ssh-proxy")
	for i, w := range words {
		if strings.ContainsAny(w, "\n\r\x00") {
			return "", fmt.Errorf("%q can't stand in an SSH configuration", w)
		}
		words[i] = strings.ReplaceAll(quote(w), "%", "%%")
	}
	return strings.Join(words, " ") + " '%h'", nil
}

// quote makes w one word of a POSIX shell, and of fish.
func quote(w string) string {
	if w == "env" || w == "ssh-proxy" {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}

// check refuses a path that no quotes make plain in all places and versions of
// ssh_config: patterns, tokens, variables, quotes.
func check(path string) error {
	for _, r := range path {
		if r < ' ' || r == 0x7f || strings.ContainsRune("\"\\*?[]%$", r) {
			return fmt.Errorf("the path %q has the character %q, which an SSH configuration can't have in a path", path, r)
		}
	}
	return nil
}
