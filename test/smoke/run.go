package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"banger/test/day"
	"banger/test/harness"
	"banger/test/smoke/testhost"
)

// run is one run in a test host that is up.
type run struct {
	host  *testhost.Host
	list  *list
	fresh bool // nothing was handed in that VMs are made of
}

// all runs what there is. What fails is said by events; an error is the run's
// own.
func (r *run) all(ctx context.Context) error {
	if err := r.prepare(ctx); err != nil {
		return err
	}
	if !slices.Contains(ended(), test{packageName, "doctor"}) {
		if err := check("doctor", func() (string, error) { return r.host.Output(ctx, testhost.User, r.banger("doctor")) }); err != nil {
			return nil // it was said; nothing else can hold
		}
	}
	if r.list.user {
		if err := r.scenarios(ctx, testhost.User, "", ""); err != nil {
			return err
		}
	}
	if r.list.image {
		if err := r.copyClients(ctx); err != nil {
			return err
		}
		if err := r.scenarios(ctx, testhost.User, "", "", "BANGER_TEST_IMAGE="+day.Image); err != nil {
			return err
		}
	}
	for _, driver := range r.list.contracts {
		if err := r.contract(ctx, driver); err != nil {
			return err
		}
	}
	// Not beside the others: emulation in an emulated machine takes a minute and
	// a half of a whole processor.
	if r.list.other {
		if err := r.scenarios(ctx, testhost.Other, "", ""); err != nil {
			return err
		}
	}
	for _, between := range []struct {
		name string
		do   func(context.Context) error
	}{{harness.Logout, r.logout}, {harness.Reboot, r.host.Reboot}, {harness.PowerCut, r.host.PowerCut}} {
		if !r.list.between[between.name] {
			continue
		}
		if err := r.scenarios(ctx, testhost.User, "before", between.name); err != nil {
			return err
		}
		say("what comes between: %s", between.name)
		if err := between.do(ctx); err != nil {
			return err
		}
		if err := r.scenarios(ctx, testhost.User, "after", between.name); err != nil {
			return err
		}
	}
	return nil
}

// logout leaves the user, whose session has ended with the last scenario, for
// longer than systemd-logind keeps those that nothing runs for (10 s,
// logind.conf(5), UserStopDelaySec). A user who lingers never logs out; this
// one no longer does, and logs in again with the next scenario.
func (r *run) logout(ctx context.Context) error {
	_, err := r.host.Output(ctx, testhost.Root, "loginctl disable-linger "+testhost.User+" && sleep 15")
	return err
}

// prepare gives the users image and kernel, as files of their own.
func (r *run) prepare(ctx context.Context) error {
	// Not sticky: one user's file replaces the other's.
	if _, err := r.host.Output(ctx, testhost.Root, "mkdir -m 0777 "+coverDir); err != nil {
		return err
	}
	from, users := testhost.HandedAsIs+"/cache", testhost.User
	if r.list.other {
		users += " " + testhost.Other
	}
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
for user in `+users+`; do
	[ -e /home/$user/.cache ] || cp -a `+from+` /home/$user/.cache
	chown -R $user: /home/$user/.cache
done
mountpoint -q /small || { mkdir -p /small && mount -t tmpfs -o size=1500m,mode=1777 small /small; } # for a full disk
sync`) // a power cut is not about what a run hands in
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

// scenarios runs those of one user, phase, and what is between phases.
func (r *run) scenarios(ctx context.Context, user, phase, between string, more ...string) error {
	env := append(append(environ(), "BANGER_TEST_BIN="+testhost.Handed+"/bin", harness.RepeatVar+"="+harness.Repeat()), more...)
	if user != testhost.User {
		env = append(env, "BANGER_TEST_USER="+user)
	}
	if phase != "" {
		env = append(env, "BANGER_TEST_PHASE="+phase, "BANGER_TEST_BETWEEN="+between)
	}
	return r.goTest(ctx, testBinary{
		pkg: packageName, file: scenarios + "/scenario.test", dir: scenarios, user: user, env: env,
		pattern: "^Test$/" + strings.ReplaceAll(r.list.only, "|", "|^Test$/"),
		goesOn:  phase == "before",
	})
}

// testBinary is a program of tests in the test host.
type testBinary struct {
	pkg, file, dir string
	user           string
	env            []string
	setup          string // shell lines before it, whole ones
	pattern        string // of the tests to run
	// goesOn says that what ends in it has another half to come.
	goesOn bool
}

// goTest runs the tests of b that did not end in a test host before this one.
func (r *run) goTest(ctx context.Context, b testBinary) error {
	in, wait, err := convert(b.pkg, !b.goesOn)
	if err != nil {
		return err
	}
	var skip []string
	for _, t := range ended() {
		if t.pkg == b.pkg {
			skip = append(skip, "^"+strings.ReplaceAll(t.name, "/", "$/^")+"$")
		}
	}
	line := fmt.Sprintf("%sexec %s -test.v=test2json -test.parallel=%d -test.timeout=%v -test.run=%s -test.skip=%s 2>&1",
		b.setup, b.file, atOnce, r.list.limit(), testhost.Quote(b.pattern), testhost.Quote(strings.Join(skip, "|")))
	status, err := r.host.Run(ctx, testhost.Command{User: b.user, Dir: b.dir, Env: b.env, Args: []string{"sh", "-c", line}, Stdout: in})
	in.Close()
	if werr := wait(); err == nil {
		err = werr
	}
	if err == nil && status != 0 && !output.failed {
		err = fmt.Errorf("%s ended with status %d", b.file, status)
	}
	return err
}

// fetchCoverage ends the daemons, which then write their counters, and copies
// all counters to dir.
func (r *run) fetchCoverage(ctx context.Context, dir string) error {
	for _, user := range []string{testhost.User, testhost.Other} {
		if _, err := r.host.Output(ctx, user, r.banger("daemon stop")); err != nil {
			return err
		}
	}
	// A power cut leaves empty what was just written.
	if _, err := r.host.Output(ctx, testhost.Root, "find "+coverDir+" -type f -empty -delete"); err != nil {
		return err
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
