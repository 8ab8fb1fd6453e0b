package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"banger/test/smoke/testhost"
)

// run is one run in a test host that is up.
type run struct {
	host  *testhost.Host
	only  string
	fresh bool // nothing was handed in that VMs are made of
}

// all runs what there is. What fails is said by events; an error is the run's
// own.
func (r *run) all(ctx context.Context, k kinds) error {
	if err := r.prepare(ctx); err != nil {
		return err
	}
	if !slices.Contains(ended(), "doctor") {
		if err := check("doctor", func() (string, error) { return r.host.Output(ctx, testhost.User, r.banger("doctor")) }); err != nil {
			return nil // it was said; nothing else can hold
		}
	}
	if k.user {
		if err := r.tests(ctx, testhost.User, ""); err != nil {
			return err
		}
	}
	// Not beside the others: emulation in an emulated machine takes a minute and
	// a half of a whole processor.
	if k.other {
		if err := r.tests(ctx, testhost.Other, ""); err != nil {
			return err
		}
	}
	if k.reboot {
		if err := r.tests(ctx, testhost.User, "before"); err != nil {
			return err
		}
		if err := r.reboot(ctx); err != nil {
			return err
		}
		if err := r.tests(ctx, testhost.User, "after"); err != nil {
			return err
		}
	}
	return nil
}

// prepare gives both users image and kernel, as files of their own.
func (r *run) prepare(ctx context.Context) error {
	// Not sticky: one user's file replaces the other's.
	if _, err := r.host.Output(ctx, testhost.Root, "mkdir -m 0777 "+coverDir); err != nil {
		return err
	}
	from := "/run/handed/cache"
	if r.fresh {
		from = "/home/" + testhost.User + "/.cache"
		say("getting kernel and image in the test host")
		err := check("first use", func() (string, error) {
			return r.host.Output(ctx, testhost.User, "{ "+r.banger("vm create --no-start --name first")+" && "+r.banger("vm delete first")+"; } 2>&1")
		})
		if err != nil {
			return err
		}
	}
	_, err := r.host.Output(ctx, testhost.Root, `set -e
for user in `+testhost.User+" "+testhost.Other+`; do
	[ -e /home/$user/.cache ] || cp -a `+from+` /home/$user/.cache
	chown -R $user: /home/$user/.cache
done`)
	return err
}

// environ are the variables of what runs in the test host.
func environ() []string {
	return []string{"PATH=" + testhost.Handed + "/bin:/usr/local/bin:/usr/bin:/bin", "GOCOVERDIR=" + coverDir}
}

// banger is a shell line.
func (r *run) banger(args string) string {
	return "env " + strings.Join(environ(), " ") + " banger " + args
}

// tests runs the scenarios of one user and phase.
func (r *run) tests(ctx context.Context, user, phase string) error {
	pkg := packageName
	env := append(environ(), "BANGER_TEST_BIN="+testhost.Handed+"/bin")
	if user != testhost.User {
		env = append(env, "BANGER_TEST_USER="+user)
	}
	if phase != "" {
		env = append(env, "BANGER_TEST_PHASE="+phase)
	}
	in, wait, err := convert(pkg, phase != "before") // what has a second half to come has not ended
	if err != nil {
		return err
	}
	// What ended in a test host before this one.
	var skip []string
	for _, name := range ended() {
		skip = append(skip, "^"+strings.ReplaceAll(name, "/", "$/^")+"$")
	}
	line := fmt.Sprintf("exec %s/scenario.test -test.v=test2json -test.parallel=%d -test.timeout=%v -test.run=%s -test.skip=%s 2>&1",
		scenarios, atOnce, limit, testhost.Quote("^Test$/"+strings.ReplaceAll(r.only, "|", "|^Test$/")), testhost.Quote(strings.Join(skip, "|")))
	status, err := r.host.Run(ctx, testhost.Command{User: user, Dir: scenarios, Env: env, Args: []string{"sh", "-c", line}, Stdout: in})
	in.Close()
	if werr := wait(); err == nil {
		err = werr
	}
	if err == nil && status != 0 && !output.failed {
		err = fmt.Errorf("the scenarios of %s ended with status %d", user, status)
	}
	return err
}

// reboot reboots the test host as its administrator would.
func (r *run) reboot(ctx context.Context) error {
	n := r.host.Boots()
	say("the test host reboots")
	// The connection may go before the answer.
	_, err := r.host.Output(ctx, testhost.Root, "systemctl reboot")
	var ssh *testhost.SSHError
	if err != nil && !errors.As(err, &ssh) {
		return err
	}
	return r.host.WaitReady(ctx, n+1)
}

// fetchCoverage ends the daemons, which then write their counters, and copies
// all counters to dir.
func (r *run) fetchCoverage(ctx context.Context, dir string) error {
	for _, user := range []string{testhost.User, testhost.Other} {
		if _, err := r.host.Output(ctx, user, r.banger("daemon stop")); err != nil {
			return err
		}
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return err
	}
	tar := exec.CommandContext(ctx, "tar", "-x", "--no-same-owner", "-f", "-", "-C", dir)
	tar.Stderr = os.Stderr
	in, err := tar.StdinPipe()
	if err == nil {
		err = tar.Start()
	}
	if err != nil {
		return err
	}
	var words strings.Builder
	status, err := r.host.Run(ctx, testhost.Command{User: testhost.Root, Args: []string{"tar", "-c", "-f", "-", "-C", coverDir, "."}, Stdout: in, Stderr: &words})
	in.Close()
	if err == nil && status != 0 {
		err = fmt.Errorf("read the counters of coverage: %s", words.String())
	}
	return errors.Join(err, tar.Wait())
}
