package diffhooktest

import (
	"net/http"

	"golang.org/x/time/rate"

	"github.com/diffhook/diffhook-go"
)

// Client returns a client of the API with the API key of the default team. These
// options differ from [diffhook.NewClient]:
//
//   - BaseURL is ignored: the client calls the server.
//   - HTTPClient must reach the server, as the default does.
//   - Limiter: by default, none: tests do not wait. The server's limits
//     remain.
//
// The client's own waits use real time, or the time of the bubble, and ignore
// [Server.Advance]. Client panics on options that NewClient rejects.
func (s *Server) Client(opts *diffhook.ClientOptions) *diffhook.Client {
	return s.defaultTeam.Client(opts)
}

// ClientGen2 is [Server.Client] with the team's OAuth client, for generation 2.
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
