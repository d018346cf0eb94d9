package diffhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// proxyError is an HTTP proxy's refusal to connect. Of such a refusal, net/http
// passes on the reason phrase alone, which the proxy may have chosen or left out.
type proxyError struct{ status int }

func (e *proxyError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("the proxy refused to connect: %d %s", e.status, http.StatusText(e.status)))
}

// proxyResponse is the type of OnProxyConnectResponse in a transport.
type proxyResponse = func(context.Context, *url.URL, *http.Request, *http.Response) error

// asProxyError returns a proxyResponse that calls before, if that is not nil, and
// makes a proxyError of a refusal.
func asProxyError(before proxyResponse) proxyResponse {
	return func(ctx context.Context, proxy *url.URL, req *http.Request, resp *http.Response) error {
		if before != nil {
			if err := before(ctx, proxy, req, resp); err != nil {
				return err
			}
		}
		if resp.StatusCode != http.StatusOK {
			return &proxyError{resp.StatusCode}
		}
		return nil
	}
}

// isProxyRefusal reports whether err is a proxy's refusal of a connection for the
// reasons that no retry changes: it does not know the client, or does not let the
// client through.
func isProxyRefusal(err error) bool {
	var refusal *proxyError
	if errors.As(err, &refusal) {
		return isRefusal(refusal.status)
	}
	var op *net.OpError
	if errors.As(err, &op) && strings.HasPrefix(op.Op, "socks") && op.Err != nil {
		return strings.Contains(op.Err.Error(), "authentication")
	}
	return isRefusalPhrase(err.Error())
}

func isRefusal(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusProxyAuthRequired
}

// isRefusalPhrase reports whether text is the reason phrase of such a refusal, as a
// transport of the caller's passes it on. Proxies write 407 in their own words,
// such as "authenticationrequired".
func isRefusalPhrase(text string) bool {
	text = strings.ToLower(text)
	if strings.ContainsAny(text, ":;") { // of another error, such as the address of a host
		return false
	}
	for _, phrase := range [...]string{"unauthorized", "forbidden"} {
		if text == phrase {
			return true
		}
	}
	return strings.Contains(text, "proxy auth") || strings.Contains(text, "authentication") && strings.Contains(text, "required")
}
