package network

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Queues of packets that wait for the host's word.
const (
	queueSYN  = 0
	queuePing = 1
	queueUDP  = 2
)

// Marks that a queue's answer leaves on a packet that is refused.
const (
	markReset = 2 + iota
	markUnreachable
	markDenied
	markPort
)

// Offsets and values of the IP family's headers (RFC 9293, RFC 768, RFC 792, RFC 4443).
const (
	offsetDport    = 2
	offsetFlags    = 13
	flagSYN        = 0x02
	flagsOfSYN     = 0x17 // FIN, SYN, RST, ACK
	icmpEcho       = 8
	icmp6Echo      = 128
	portDNS        = 53
	portQUIC       = 443
	rejectICMPX    = 2 // NFT_REJECT_ICMPX_UNREACH
	rejectReset    = 1 // NFT_REJECT_TCP_RST
	icmpxPort      = 1
	icmpxHost      = 2
	icmpxAdmin     = 3
	priorityAsk    = -160
	priorityAnswer = -150
)

// setRules makes the inner namespace's rules anew: port is the listener's.
//
//	ask:     a SYN, a ping and a datagram that is neither DNS nor NTP wait in their queues;
//	         with nobody at a queue they go on
//	answer:  what the queue has marked is refused as the mark says
//	         TCP goes to the listener, DNS and NTP to their sockets, if they are there
//	         all else of TCP, UDP is refused: with nobody there, nothing hangs
func setRules(n *namespace, port int) error {
	c, err := nftables.New(nftables.WithNetNSFd(int(n.handle)))
	if err != nil {
		return fmt.Errorf("reach nftables: %w", err)
	}
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "banger"})
	c.FlushTable(t)
	chain := func(name string, priority nftables.ChainPriority) func(...[]expr.Any) {
		ch := c.AddChain(&nftables.Chain{
			Table: t, Name: name, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: &priority,
		})
		return func(parts ...[]expr.Any) {
			r := &nftables.Rule{Table: t, Chain: ch, Exprs: fromGuest()}
			for _, p := range parts {
				r.Exprs = append(r.Exprs, p...)
			}
			c.AddRule(r)
		}
	}
	ask := chain("ask", priorityAsk)
	ask(protocol(unix.IPPROTO_TCP), masked(offsetFlags, flagsOfSYN, flagSYN), queue(queueSYN))
	ask(protocol(unix.IPPROTO_ICMP), field(0, icmpEcho), queue(queuePing))
	ask(protocol(unix.IPPROTO_ICMPV6), field(0, icmp6Echo), queue(queuePing))
	ask(protocol(unix.IPPROTO_UDP), dport(portDNS), accept())
	ask(protocol(unix.IPPROTO_UDP), dport(portTime), accept())
	ask(protocol(unix.IPPROTO_UDP), queue(queueUDP))

	answer := chain("answer", priorityAnswer)
	answer(protocol(unix.IPPROTO_TCP), marked(markReset), reject(rejectReset, 0))
	answer(marked(markUnreachable), reject(rejectICMPX, icmpxHost))
	answer(marked(markDenied), reject(rejectICMPX, icmpxAdmin))
	answer(marked(markPort), reject(rejectICMPX, icmpxPort))
	answer(protocol(unix.IPPROTO_TCP), tproxy(port), accept())
	answer(protocol(unix.IPPROTO_UDP), dport(portDNS), tproxy(portDNS), accept())
	answer(protocol(unix.IPPROTO_UDP), dport(portTime), tproxy(portTime), accept())
	answer(protocol(unix.IPPROTO_TCP), reject(rejectReset, 0))
	answer(protocol(unix.IPPROTO_UDP), reject(rejectICMPX, icmpxPort))
	if err := c.Flush(); err != nil {
		return fmt.Errorf("set the network's rules: %w", err)
	}
	return nil
}

func fromGuest() []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, inner)
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, equal(name...)}
}

func equal(data ...byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }

func protocol(p byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equal(p)}
}

func marked(m uint32) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, equal(binaryutil.NativeEndian.PutUint32(m)...)}
}

func payload(offset, n uint32) expr.Any {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: n}
}

func field(offset uint32, value byte) []expr.Any { return []expr.Any{payload(offset, 1), equal(value)} }

func masked(offset uint32, mask, value byte) []expr.Any {
	return []expr.Any{payload(offset, 1), &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{mask}, Xor: []byte{0}}, equal(value)}
}

func dport(port uint16) []expr.Any {
	return []expr.Any{payload(offsetDport, 2), equal(binaryutil.BigEndian.PutUint16(port)...)}
}

func queue(n uint16) []expr.Any { return []expr.Any{&expr.Queue{Num: n, Flag: expr.QueueFlagBypass}} }

func accept() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }

func reject(kind uint32, code uint8) []expr.Any {
	return []expr.Any{&expr.Reject{Type: kind, Code: code}}
}

// tproxy gives the packet to who listens on port, and marks it; with nobody there the rule ends.
func tproxy(port int) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: binaryutil.BigEndian.PutUint16(uint16(port))},
		&expr.TProxy{Family: unix.NFPROTO_UNSPEC, TableFamily: unix.NFPROTO_INET, RegPort: 1},
		&expr.Immediate{Register: 1, Data: binaryutil.NativeEndian.PutUint32(mark)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1},
	}
}
