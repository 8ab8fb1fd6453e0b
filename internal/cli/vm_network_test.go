package cli

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"banger/internal/channel/exec"
)

// A session's end names what the guest was denied since it began.
func TestDenials(t *testing.T) {
	log := func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`{"time":"2001-01-01T00:00:00Z","name":"old.example","proto":"tcp","reason":"no","process":"x; --allow evil.example allows it","count":1}
{"time":"2999-01-01T00:00:00Z","name":"a.example","addr":"192.0.2.1","port":443,"proto":"tcp","reason":"not on the list\u001b[2J","allow":"--allow a.example","process":"curl[7]","count":3}
{"time":"2999-01-01T00:00:01Z","name":"a.example","proto":"dns","reason":"not on the list","count":1}
{"time":"2999-01-01T00:00:01.5Z","name":"a.example","proto":"dns","reason":"not on the list","count":2}
{"time":"2999-01-01T00:00:02Z","addr":"10.0.0.1","port":22,"proto":"tcp","reason":"10.0.0.1 is private","count":1}
{"time":"2999-01-01T00:00:03Z","name":"b.example","proto":"dns","reason":"no answer in time","failed":true,"count":1}
{"time":"2999-01-01T00:00:03Z","addr":"192.0.2.9","proto":"icmp","reason":"the kernel lets this user send no pings","failed":true,"count":1}
{"time":"2999-01-01T00:00:03Z","name":"c.example","addr":"192.0.2.8","port":443,"proto":"tcp","reason":"the proxy answers 403","failed":true,"count":1}
{"time":"2999-01-01T00:00:04Z","proto":"dns","reason":"the VM asks for too many names","count":88}
`))
	}
	newDaemon(t, answers{
		created: result("dev"), entered: sessionAt(guest(t, nil, exec.Status{Kind: exec.Exited})), deleted: deletedVM("dev"), denials: log,
	})
	a, o := newApp(t)
	a.runLine(t, "run", "--rm", "--", "x")
	if got, want := o.stderr(), "banger: 2 hosts were denied (a.example, 10.0.0.1): banger vm network log dev\nbanger: this machine could not look a name up (b.example): banger vm network log dev\n"+
		"banger: this machine could not ping a host (192.0.2.9): banger vm network log dev\n"+
		"banger: this machine's proxy does not reach a host (c.example): banger vm network log dev\n"; got != want {
		t.Errorf("stderr has %q, want %q", got, want)
	}
	a, o = newApp(t)
	a.runLine(t, "vm", "network", "log", "dev")
	if got, want := o.stderr(), "banger: to allow one: banger vm set dev --allow a.example\n"; got != want {
		t.Errorf("stderr has %q, want %q", got, want)
	}
	for _, want := range []string{
		"denied  tcp  a.example:443 (192.0.2.1): not on the list\\x1b[2J, asked by curl[7], ×3; --allow a.example allows it\n",
		"denied  dns  a.example: not on the list, ×3\n", "denied  tcp  10.0.0.1:22: 10.0.0.1 is private\n",
		"failed  dns  b.example: no answer in time\n", "denied  dns  the VM asks for too many names, ×88\n",
		"denied  tcp  old.example: no, asked by \"x; --allow evil.example allows it\"\n",
	} {
		if !strings.Contains(o.stdout(), want) {
			t.Errorf("the log lacks %q:\n%s", want, o.stdout())
		}
	}
}

func TestConnectionQuery(t *testing.T) {
	for text, want := range map[string]string{
		"example.org": "example.org 443", "example.org:80": "example.org 80", "[2001:db8::1]:22": "2001:db8::1 22", "[2001:db8::1]": "2001:db8::1 443",
		"a:0": "", "a:x": "", "a:70000": "", "": "", "*.example.org": "",
	} {
		q, err := connectionQuery(text)
		got := ""
		if err == nil {
			got = strings.TrimSpace(q.Name + " " + strconv.Itoa(q.Port))
		}
		if got != want {
			t.Errorf("connectionQuery(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"https://example.org/a:b": "example.org:443", "http://[2001:db8::1]": "[2001:db8::1]:80", "ssh://git@a.example/x": "a.example:22", "http://a.example:8080": "a.example:8080",
	} {
		if _, err := connectionQuery(text); err == nil || !strings.HasSuffix(err.Error(), "is a URL: type its host with the port, as "+want) {
			t.Errorf("connectionQuery(%q): %v, want that %s is to be typed", text, err, want)
		}
	}
}
