// Banger-agent is PID 1 of the initramfs of banger's guests, and then banger's
// half of the guest.
package main

import "banger/internal/agent"

func main() { agent.Main() }
