package main

// Which connections somebody is in the middle of something on.

import (
	"time"

	"github.com/vishvananda/netlink"
)

// isBusy tells whether ending the process now could cost this connection's client an answer.
//
// Whoever had the last word is known to the kernel: a client that sent something and got nothing since waits for an
// answer, however long that takes. After an answer it may speak again at any time; for how long it has to have kept
// still is `quiet`. What cannot be told from a request (a window update, a ping) counts as one. The kernel's clock for
// this ticks every few milliseconds: a question that came in the same tick as the last answer is not seen to be due.
func (c connection) isBusy(quiet time.Duration) bool {
	switch c.state {
	case netlink.TCP_ESTABLISHED, netlink.TCP_CLOSE_WAIT:
		if c.unread > 0 || c.unsent > 0 {
			return true
		}
		if c.received > 0 && (c.answers == 0 || c.sinceReceived < c.sinceSent) {
			return true
		}
		return min(c.sinceReceived, c.sinceSent) < quiet
	case netlink.TCP_FIN_WAIT1, netlink.TCP_CLOSING, netlink.TCP_LAST_ACK:
		return c.unsent > 0
	default:
		return false
	}
}

// portsOf are the ports to watch: those that were named, or else all that somebody listens on.
func portsOf(named []uint16, seen []connection) map[uint16]bool {
	ports := map[uint16]bool{}
	for _, port := range named {
		ports[port] = true
	}
	if len(ports) > 0 {
		return ports
	}
	for _, one := range seen {
		if one.state == netlink.TCP_LISTEN {
			ports[one.port] = true
		}
	}
	return ports
}

// busy counts the connections on these ports that are.
func busy(seen []connection, ports map[uint16]bool, quiet time.Duration) int {
	count := 0
	for _, one := range seen {
		if ports[one.port] && one.isBusy(quiet) {
			count++
		}
	}
	return count
}
