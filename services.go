package diffhook

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// callPath makes a call at a path of the given elements below the base URL.
// Each stays one element, whatever is in it.
func (c *Client) callPath(ctx context.Context, call *call, elements ...string) error {
	u := *c.core.base
	u.RawPath = u.EscapedPath()
	for i, element := range elements {
		escaped := url.PathEscape(element)
		if err := checkElement(escaped); err != nil {
			return fmt.Errorf("diffhook: %s %s: %w", call.method, call.route, err)
		}
		if i > 0 {
			u.Path, u.RawPath = u.Path+"/", u.RawPath+"/"
		}
		u.Path, u.RawPath = u.Path+element, u.RawPath+escaped
	}
	u.RawQuery = call.query
	call.url = &u
	return c.call(ctx, call)
}

// ListOptions bounds a list. A nil pointer means the default.
//
// The API documents no way to get what comes after the last item of a list, so
// a list that is as long as its limit may not be all there is: see
// [ListOptions.Full].
type ListOptions struct {
	// Limit is the longest list wanted, 1 to 200. By default, 200, the most
	// that the API gives (its own default is 50).
	Limit int
}

const maxLimit = 200

func (o *ListOptions) limit() int {
	if o == nil || o.Limit == 0 {
		return maxLimit
	}
	return o.Limit
}

// Full reports whether a list of n items, which these options asked for, is as
// long as they allow: there may be more items then, which the API does not
// give.
func (o *ListOptions) Full(n int) bool { return n >= o.limit() }

func (c *Client) list(ctx context.Context, resource string, opts *ListOptions, out any) error {
	limit := opts.limit()
	if limit < 1 || limit > maxLimit {
		return fmt.Errorf("%w: ListOptions.Limit is %d; want 1 to %d, or 0 for %d", ErrInvalidRequest, opts.Limit, maxLimit, maxLimit)
	}
	call := &call{method: http.MethodGet, route: resource, out: out, repeatable: true, query: "limit=" + strconv.Itoa(limit)}
	return c.callPath(ctx, call, resource)
}

// What is wrong with an answer that has the form of JSON and not what it must
// have.
const (
	errNullInAnswer     answerError = "it has a null in the place of a record"
	errNoIDInAnswer     answerError = "it has no id"
	errNoKeyInAnswer    answerError = "it has no API key"
	errNoSecretInAnswer answerError = "it has no signing secret, or none that can be one"
	errNoTokenInAnswer  answerError = "it has no access_token, or none that a header can have"
)
