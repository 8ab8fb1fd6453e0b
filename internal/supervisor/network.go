package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"banger/internal/channel/control"
	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
	"banger/internal/network/dial"
	"banger/internal/network/egress"
	"banger/internal/network/policy"
	"banger/internal/network/resolver"
	"banger/internal/vm"
	"banger/internal/vmm"
)

// Network is how a guest is connected: a run without one has no way out.
type Network struct {
	Policy policy.Policy `json:"policy"`
	// Host is what the guest gets of the host's configuration: package agent/hostconfig's
	// Config. It holds no secret.
	Host json.RawMessage `json:"host,omitempty"`
	// Unknown are the host's package clients of which no rule of Policy knows where they fetch from.
	Unknown []string `json:"unknown,omitempty"`
	// Notes are lines for the user about what of the host's configuration does not count.
	Notes []string `json:"notes,omitempty"`
	// Publish and AutoForward are vm.Network's.
	Publish     []vm.Forward `json:"publish,omitempty"`
	AutoForward bool         `json:"auto_forward,omitempty"`
	// Proxies are the host's upstream proxies. They have credentials: a supervisor gets
	// them by its environment.
	Proxies Proxies `json:"-"`
}

// Proxies are URLs of upstream proxies, and where they are not used, as HTTP_PROXY,
// HTTPS_PROXY and NO_PROXY have them.
type Proxies struct{ HTTP, HTTPS, No string }

// network is a run's way out.
type network struct {
	guest *egress.Guest
	host  *resolver.Host
	log   *networkLog

	carriers *carriers
	forwards *forwards
	others   *others

	stop     context.CancelFunc
	watching sync.WaitGroup
	carrying sync.WaitGroup
}

// openNetwork makes the run's way out; nil if it has none.
func (r *run) openNetwork() *network {
	if r.order.Network == nil {
		return nil
	}
	n := &network{host: &resolver.Host{}, log: openNetworkLog(r.order.Dir), carriers: newCarriers(), others: &others{dir: filepath.Dir(r.order.Dir)}}
	proxies, err := proxiesOfEnvironment()
	if err != nil {
		r.log.Warn("the upstream proxy can't be used", "err", err)
	}
	n.guest = egress.New(egress.Config{
		Policy: r.order.Network.Policy, Routes: policy.Kernel{}, Host: n.host, Proxies: proxies, VMs: n.others,
		Record: func(e egress.Event) {
			if n.log.add(e) {
				r.update(func(s *Status) { s.Denied++ })
			}
		},
		Tell: n.tell,
	})
	var ctx context.Context
	ctx, n.stop = context.WithCancel(context.Background())
	n.watching.Go(func() { // ends with ctx
		err := policy.Kernel{}.Watch(ctx, func() {
			if ended := n.guest.Recheck(); ended > 0 {
				r.log.Info("the host's network has changed", "connections_ended", ended)
			}
		})
		if err != nil {
			r.log.Warn("connections that are open stay so when the host's network changes", "err", err)
		}
	})
	n.forwards = newForwards(r, n.carriers)
	n.forwards.open()
	return n
}

// carry keeps the carriers of the guest's flows until m's end.
func (n *network) carry(r *run, m vmm.Machine) {
	for range carrierCount {
		n.carrying.Go(func() { r.carry(m, n.carriers, n.guest.Handle) }) // ends with m
	}
}

// tell hands a denial to the guest's agent, and returns which process asked for it, as the agent says.
func (n *network) tell(ctx context.Context, q netflow.Request) (process string) {
	f, err := n.carriers.open(ctx, q.Marshal())
	if err == nil { // no agent takes it
		f.Reset()
	}
	if r := (*flow.RefusedError)(nil); errors.As(err, &r) && r.Code == netflow.Denied {
		return r.Text
	}
	return ""
}

// close ends what the network does, after the machine's end.
func (n *network) close() {
	if n == nil {
		return
	}
	n.stop()
	n.forwards.close()
	n.guest.Close()
	n.watching.Wait()
	n.others.close()
	n.host.Close()
	n.carrying.Wait() // what was denied is recorded then
	n.log.Close()
}

// hasIPv6 reports whether the host has a way to public addresses of IPv6: it asks the
// kernel for the route of one, and sends nothing.
func hasIPv6() bool {
	route, err := policy.Kernel{}.Route(netip.MustParseAddr("2600::"))
	return err == nil && route.Reach == policy.ByDefault
}

// networkIdentity is what the guest is told of its network.
func (r *run) networkIdentity() *control.Network {
	if r.order.Network == nil {
		return nil
	}
	return &control.Network{IPv6: hasIPv6(), Host: r.order.Network.Host}
}

// The variables that carry Proxies to a supervisor.
const (
	envHTTPProxy  = "BANGER_HTTP_PROXY"
	envHTTPSProxy = "BANGER_HTTPS_PROXY"
	envNoProxy    = "BANGER_NO_PROXY"
)

func (p Proxies) environment() (env []string) {
	for k, v := range map[string]string{envHTTPProxy: p.HTTP, envHTTPSProxy: p.HTTPS, envNoProxy: p.No} {
		if v != "" {
			env = append(env, k+"="+v)
		}
	}
	return env
}

func proxiesOfEnvironment() (*dial.Proxies, error) {
	p := Proxies{os.Getenv(envHTTPProxy), os.Getenv(envHTTPSProxy), os.Getenv(envNoProxy)}
	if p == (Proxies{}) {
		return nil, nil
	}
	return dial.NewProxies(p.HTTP, p.HTTPS, p.No)
}

// noNetwork says why there is no network: the VMM is not launched yet, or it is a VM without one.
func (r *run) noNetwork() *Refusal {
	name := r.name()
	if r.order.Network != nil {
		return &Refusal{Code: CodeState, Message: fmt.Sprintf("VM %q is starting: its network is not there yet", name), Hint: "banger vm wait " + name + " running"}
	}
	return &Refusal{Code: CodeState, Message: fmt.Sprintf("VM %q has no network", name), Hint: "banger vm restart " + name}
}

func (r *run) servePolicy(w http.ResponseWriter, req *http.Request) {
	n := r.network.Load()
	if n == nil {
		refuse(w, r.noNetwork())
		return
	}
	var p policy.Policy
	if !r.read(w, req, verbPolicy, &p) {
		return
	}
	answer(w, http.StatusOK, PolicySet{Ended: n.guest.SetPolicy(p)})
}

// PolicySet is the answer to a new policy.
type PolicySet struct {
	// Ended is how many connections it ended.
	Ended int `json:"ended"`
}

func (r *run) serveNetwork(w http.ResponseWriter, req *http.Request) {
	n := r.network.Load()
	name := req.URL.Query().Get("name")
	var state NetworkState
	if told := r.order.Network; told != nil {
		state = NetworkState{Policy: &told.Policy, Unknown: told.Unknown, Notes: told.Notes}
	}
	switch {
	case state.Policy != nil && n == nil && name != "":
		refuse(w, r.noNetwork())
		return
	case n == nil:
		answer(w, http.StatusOK, state)
		return
	}
	n.log.Flush()
	p := n.guest.Policy()
	state.Policy, state.Flows = &p, n.guest.Flows()
	if name != "" {
		port, err := strconv.ParseUint(req.URL.Query().Get("port"), 10, 16)
		if err != nil {
			refuse(w, &Refusal{Code: CodeInvalid, Message: "a check needs ?name=NAME&port=N"})
			return
		}
		state.Check = n.guest.Check(req.Context(), name, uint16(port))
	}
	answer(w, http.StatusOK, state)
}

// NetworkState is a run's network as it is now.
type NetworkState struct {
	// Policy is nil for a run without a network.
	Policy  *policy.Policy `json:"policy,omitempty"`
	Unknown []string       `json:"unknown,omitempty"` // as Network has it; so Notes
	Notes   []string       `json:"notes,omitempty"`
	Flows   int            `json:"flows"`
	Check   []egress.Check `json:"check,omitempty"`
}
