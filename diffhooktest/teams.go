package diffhooktest

import (
	"crypto/rand"
	"strings"
	"time"

	"github.com/diffhook/diffhook-go"
)

// Plan is what a team pays for. The zero value is the free plan.
type Plan struct {
	// RequestsPerMinute is how many requests are allowed in any 60 s, per API
	// key and per IP address. The free plan has 60, a paid one 200. By
	// default, 60.
	RequestsPerMinute int

	// Monitors is how many monitors the team may have. The platform's numbers
	// are not documented. By default, there is no limit.
	Monitors int
}

// Team owns API keys, OAuth clients, monitors, logs and a signing secret, none
// of which another team can see. [Server.DefaultTeam] and [Server.NewTeam]
// return one. All methods are safe for concurrent use.
type Team struct {
	server *Server

	// Under the server's mutex.
	plan     Plan
	keys     []*apiKey // oldest first
	clients  []*oauthClient
	monitors []*monitor  // oldest first
	logs     []logRecord // oldest first
	signing  signingSecret
}

// signingSecret is a team's secret and the one before it.
type signingSecret struct {
	current, previous diffhook.Secret
	created           time.Time // when current came into force
}

// DefaultTeam returns the team that the server has from the start, on the free
// plan.
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

// SetPlan moves the team to another plan. It holds for the requests that come
// from now on, and takes no monitors away.
func (t *Team) SetPlan(plan Plan) {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	t.plan = plan
}

// requestsPerMinute is the plan's limit, with its default.
func (p Plan) requestsPerMinute() int {
	if p.RequestsPerMinute <= 0 {
		return 60
	}
	return p.RequestsPerMinute
}

// newID returns a random id of a kind, such as mon_5f6n2ql3vtwa7bze.
func newID(kind string) string { return kind + "_" + strings.ToLower(rand.Text()[:16]) }
