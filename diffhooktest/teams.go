package diffhooktest

import (
	"crypto/rand"
	"strings"
	"time"

	"github.com/diffhook/diffhook-go"
)

// Plan contains the limits of a team. The zero value is the free plan, without a
// limit for monitors.
type Plan struct {
	// RequestsPerMinute limits the requests in any 60 s, per API key and per IP
	// address. The free plan allows 60, paid plans 200. By default, 60.
	RequestsPerMinute int

	// Monitors limits the number of monitors. The platform's numbers are not
	// documented. By default, there is no limit.
	Monitors int
}

// Team owns API keys, OAuth clients, monitors, logs and a signing secret, invisible
// to other teams. [Server.DefaultTeam] and [Server.NewTeam] return a Team. All
// methods are safe for concurrent use.
type Team struct {
	server *Server

	// Guarded by the server's mutex.
	plan     Plan
	keys     []*apiKey // oldest first
	clients  []*oauthClient
	monitors []*monitor  // oldest first
	logs     []logRecord // oldest first
	signing  signingSecret
}

// signingSecret is the current secret of a team and the previous secret, if any.
type signingSecret struct {
	current, previous diffhook.Secret
	created           time.Time // of current
}

// DefaultTeam returns the team that exists from the start, on the free plan.
func (s *Server) DefaultTeam() *Team { return s.defaultTeam }

// NewTeam adds a team with an API key, an OAuth client and a signing secret.
func (s *Server) NewTeam(plan Plan) *Team {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addTeam(plan)
}

func (s *Server) addTeam(plan Plan) *Team {
	t := &Team{server: s, plan: plan, signing: signingSecret{current: NewSecret(), created: s.clock.now()}}
	t.addKey("default")
	t.addClient()
	s.teams = append(s.teams, t)
	return t
}

// SetPlan moves the team to another plan, for the requests from now on. No monitor
// is removed.
func (t *Team) SetPlan(plan Plan) {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	t.plan = plan
}

// requestsPerMinute returns the plan's limit or the default.
func (p Plan) requestsPerMinute() int {
	if p.RequestsPerMinute <= 0 {
		return 60
	}
	return p.RequestsPerMinute
}

// newID returns a random id of a kind, such as mon_5f6n2ql3vtwa7bze.
func newID(kind string) string { return kind + "_" + strings.ToLower(rand.Text()[:16]) }
