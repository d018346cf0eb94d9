package secrets_test

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/rotation"
)

var errReset = errors.New("connection reset by peer")

// faulty is a RoundTripper that breaks the requests from number first to number last, from
// 1 on: before the server handles the request, or afterwards.
type faulty struct {
	next        http.RoundTripper
	first, last int
	arrives     bool

	mu       sync.Mutex
	requests int
}

func (f *faulty) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.requests++
	broken := f.first <= f.requests && f.requests <= f.last
	f.mu.Unlock()
	if broken && !f.arrives {
		return nil, errReset
	}
	resp, err := f.next.RoundTrip(r)
	if broken {
		return nil, errReset
	}
	return resp, err
}

// begin sets the requests to break, and counts anew.
func (f *faulty) begin(first, last int, arrives bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests, f.first, f.last, f.arrives = 0, first, last, arrives
}

// Each request of a Swap is broken, once or for good. The store then contains the old or
// the new document. If Swap returns nil, the document is new. If Swap returns a conflict,
// the document is not old. A run can read again and go on.
func TestLostRequestsAndAnswers(t *testing.T) {
	const requests = 4 // more than any Swap sends without a fault
	for place, open := range httpPlaces {
		for _, arrives := range []bool{false, true} {
			for first := 1; first <= requests; first++ {
				for _, last := range []int{first, 1000} {
					t.Run(fmt.Sprintf("%s/arrives=%t/%d to %d", place, arrives, first, last), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { testFault(t, open, first, last, arrives) })
					})
				}
			}
		}
	}
}

func testFault(t *testing.T, open httpPlace, first, last int, arrives bool) {
	f := &faulty{}
	store, err := open(t, func(rt http.RoundTripper) http.RoundTripper { f.next = rt; return f })("document")
	require.NoError(t, err)
	ctx := t.Context()
	_, version, err := store.Get(ctx)
	require.NoError(t, err)
	for i, next := range []string{`{"n":1}`, `{"n":2}`} {
		f.begin(first, last, arrives)
		swapErr := store.Swap(ctx, version, []byte(next))
		f.begin(0, 0, false)

		doc, newest, err := store.Get(ctx)
		require.NoError(t, err)
		swapped := string(doc) == next
		if swapErr == nil {
			require.True(t, swapped, "Swap %d returned nil", i)
		}
		if errors.Is(swapErr, rotation.ErrConflict) {
			require.True(t, swapped, "Swap %d returned ErrConflict, and nobody else wrote", i)
		}
		if !swapped { // the run goes on
			require.NoError(t, store.Swap(ctx, newest, []byte(next)))
			doc, newest, err = store.Get(ctx)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(next, string(doc)))
		}
		version = newest
	}
}

// A rival swaps during a Swap, and wins or loses. A Swap never overwrites the document of
// the winner.
func TestRivalBetweenTwoRequests(t *testing.T) {
	for place, open := range httpPlaces {
		for before := 1; before <= 2; before++ {
			t.Run(fmt.Sprintf("%s/before request %d", place, before), func(t *testing.T) {
				r := &rival{before: before}
				opened := open(t, func(rt http.RoundTripper) http.RoundTripper { r.next = rt; return r })
				store, err := opened("document")
				require.NoError(t, err)
				ctx := t.Context()
				_, version, err := store.Get(ctx)
				require.NoError(t, err)
				require.NoError(t, store.Swap(ctx, version, []byte(`{"n":1}`)))
				_, version, err = store.Get(ctx)
				require.NoError(t, err)

				won := false
				r.begin(func() { won = store.Swap(ctx, version, []byte(`{"rival":true}`)) == nil })
				swapErr := store.Swap(ctx, version, []byte(`{"n":2}`))
				if before == 1 {
					require.True(t, won, "the rival swaps before the first request")
				}
				doc, _, err := store.Get(ctx)
				require.NoError(t, err)
				if won {
					require.ErrorIs(t, swapErr, rotation.ErrConflict)
					require.JSONEq(t, `{"rival":true}`, string(doc))
				} else {
					require.NoError(t, swapErr)
					require.JSONEq(t, `{"n":2}`, string(doc))
				}
			})
		}
	}
}

// rival is a RoundTripper that calls a function before a request with a given number.
type rival struct {
	next     http.RoundTripper
	before   int
	requests int
	swap     func()
}

func (r *rival) begin(swap func()) { r.requests, r.swap = 0, swap }

func (r *rival) RoundTrip(req *http.Request) (*http.Response, error) {
	r.requests++
	if swap := r.swap; swap != nil && r.requests == r.before {
		r.swap = nil
		swap()
	}
	return r.next.RoundTrip(req)
}
