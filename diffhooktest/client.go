package diffhooktest

import (
	"net/http"

	"golang.org/x/time/rate"

	"github.com/diffhook/diffhook-go"
)

// Client returns a client of the default team, with its API key. It sends to
// the server whatever opts say of BaseURL; an HTTPClient in opts must reach the
// server, and by default one is used that does. By default it has no limiter, so
// that tests do not wait: the server limits all the same. All else is as
// [diffhook.NewClient] has it; the client's own waits go by real time, or by
// the bubble's, and not by [Server.Advance]. It panics on options that
// NewClient refuses.
func (s *Server) Client(opts *diffhook.ClientOptions) *diffhook.Client {
	return s.defaultTeam.Client(opts)
}

// ClientGen2 is [Server.Client] with the team's OAuth client instead, so that
// it speaks generation 2.
func (s *Server) ClientGen2(opts *diffhook.ClientOptions) *diffhook.Client {
	return s.defaultTeam.ClientGen2(opts)
}

// Client is [Server.Client] for the team.
func (t *Team) Client(opts *diffhook.ClientOptions) *diffhook.Client {
	return t.server.client(t.APIKey(), opts)
}

// ClientGen2 is [Server.ClientGen2] for the team.
func (t *Team) ClientGen2(opts *diffhook.ClientOptions) *diffhook.Client {
	return t.server.client(diffhook.ClientCredentials(t.ClientCredentials()), opts)
}

func (s *Server) client(creds diffhook.Credentials, opts *diffhook.ClientOptions) *diffhook.Client {
	var o diffhook.ClientOptions
	if opts != nil {
		o = *opts
	}
	o.BaseURL = s.URL
	if o.Limiter == nil {
		o.Limiter = rate.NewLimiter(rate.Inf, 1)
	}
	if o.HTTPClient == nil {
		o.HTTPClient = &http.Client{Transport: s.calls}
		if s.http == nil {
			o.HTTPClient.Transport = Transport(s)
		}
	}
	c, err := diffhook.NewClient(creds, &o)
	if err != nil {
		panic("diffhooktest: " + err.Error())
	}
	return c
}
