// Shell boots the test host, runs one command in it, and ends it:
//
//	go build -o build/test-host ./test/smoke/shell && build/test-host [-root] [-in DIR] [-bin DIR] [-mem MiB] [-- COMMAND…]
//
// The command runs as an ordinary user who may use KVM, or as root. DIR lies at
// /handed/in and is where the command starts; the programs of -bin (./bin,
// where it is there) are in its PATH, and so is a Firecracker of this machine;
// image and kernel of this user are its XDG_CACHE_HOME. Without a command it is
// a shell. Its exit status is the command's; 125 is our own failure.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"

	"banger/test/smoke/testhost"
)

func main() {
	root := flag.Bool("root", false, "run the command as root")
	in := flag.String("in", "", "directory to hand in")
	bin := flag.String("bin", "bin", "directory of the programs")
	mem := flag.Int("mem", 0, "the test host's memory in MiB (default 8192)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	status, err := run(ctx, *root, *in, *bin, *mem)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "shell:", err)
		status = 125
	}
	os.Exit(status)
}

func run(ctx context.Context, root bool, in, bin string, mem int) (int, error) {
	begin := time.Now()
	o := testhost.Options{MemMiB: mem, Hand: testhost.Hand{}, Bin: bin, Say: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%4.0f s  %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
	}}
	c := testhost.Command{User: testhost.User, Args: flag.Args(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	if root {
		c.User = testhost.Root
	}
	if in != "" {
		o.Hand["in"] = in
		c.Dir = testhost.Handed + "/in"
	}
	if _, err := os.Stat(bin); err == nil {
		o.Hand["bin"] = bin
	}
	if err := o.Hand.AddArtifacts(); err != nil {
		return 0, err
	}
	if fc := testhost.Firecracker(); fc != "" {
		o.Hand["bin/firecracker"] = fc
	}
	c.Env = testhost.Environ()
	c.Terminal = term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd()))
	h, err := testhost.Boot(ctx, o)
	if err != nil {
		return 0, err
	}
	status, err := h.Run(ctx, c)
	if cerr := h.Close(); err == nil {
		err = cerr
	}
	return status, err
}
