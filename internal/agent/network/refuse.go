package network

import "os"

// answerAlways lets each packet that is refused be answered: a kernel sends six messages of
// ICMP to the same address and then one a second (Documentation/networking/ip-sysctl.rst,
// icmp_ratelimit), and a program whose SYN got none waits. A guest that is flooded floods
// itself. It is called in the inner namespace. Which types are limited is a mask for IPv4,
// and a list for IPv6; of that one, type 255 is left, which nobody sends. A kernel that
// lacks a file limits as before.
func answerAlways() {
	for file, value := range map[string]string{"ipv4/icmp_ratemask": "0", "ipv6/icmp/ratemask": "255"} {
		os.WriteFile("/proc/sys/net/"+file, []byte(value), 0)
	}
}
