package diffhook

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Elements of the paths that are assumed, all in this place: DiffHook documents
// what is done there as pages of its app only.
const (
	pathKeys          = "keys"
	pathSigningSecret = "signing-secret"
	pathRotate        = "rotate"
	pathPrevious      = "previous"
)

// callPath makes a call at a path of the given elements below the base URL.
// Each stays one element, whatever is in it.
func (c *Client) callPath(ctx context.Context, call *call, elements ...string) error {
	u := *c.core().base
	plain := true // the path needs no escapes that a URL would not write by itself
	for _, element := range elements {
		escaped := url.PathEscape(element)
		if err := checkElement(escaped); err != nil {
			return fmt.Errorf("%w (%s %s)", err, call.method, call.route)
		}
		plain = plain && escaped == element
	}
	path := strings.Join(elements, "/")
	if !plain || u.RawPath != "" {
		u.RawPath = u.EscapedPath() + escapedPath(elements)
	}
	u.Path += path
	u.RawQuery = call.query
	call.url = &u
	return c.call(ctx, call)
}

func escapedPath(elements []string) string {
	var b strings.Builder
	for i, element := range elements {
		if i > 0 {
			b.WriteByte('/')
		}
		b.WriteString(url.PathEscape(element))
	}
	return b.String()
}

// ListOptions bounds a list. A nil pointer means the default.
//
// The API documents no way to get what comes after the last item of a list, so
// a list of [MaxListLimit] items may not be all there is. A longer list is
// returned whole.
//
// A field that cannot be read is zero, and so is an item that cannot be read: the
// list stays as long as the API's. Check the ID before you use an item.
type ListOptions struct {
	// Limit is the longest list wanted, from 1 to MaxListLimit. By default,
	// MaxListLimit (the default of the API itself is 50).
	Limit int
}

// MaxListLimit is the length of the longest list that the API documents.
const MaxListLimit = 200

func (o *ListOptions) limit() int {
	if o == nil || o.Limit == 0 {
		return MaxListLimit
	}
	return o.Limit
}

func list[T any](ctx context.Context, c *Client, resource string, opts *ListOptions, read func(*T, value)) ([]T, error) {
	limit := opts.limit()
	if limit < 1 || limit > MaxListLimit {
		return nil, fmt.Errorf("%w: ListOptions.Limit is %d; want 1 to %d, or 0 for %d", ErrInvalidRequest, opts.Limit, MaxListLimit, MaxListLimit)
	}
	out := &listReader[T]{read: read}
	call := &call{method: http.MethodGet, route: resource, out: out, repeatable: true, query: "limit=" + strconv.Itoa(limit)}
	if err := c.callPath(ctx, call, resource); err != nil {
		return nil, err
	}
	return out.items, nil
}
