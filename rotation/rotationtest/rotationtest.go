// Package rotationtest tests stores of package rotation, for customers with a store of
// their own.
package rotationtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/diffhook/diffhook-go/rotation"
)

// The documents of the tests. The texts with hidden stand for credentials: no error
// may show them.
const (
	first  = `{"kind":"test","format":1,"current":"` + hidden + `-first"}`
	second = `{"kind":"test","format":1,"current":"` + hidden + `-second","previous":"` + hidden + `-first"}`
	third  = `{"kind":"test","format":1,"current":"` + hidden + `-third"}`
	hidden = "not-to-be-shown"
)

// racers is the number of concurrent swaps.
const racers = 8

// TestStore tests a [rotation.Store] and returns an error that lists every
// violation, or nil. Call it from a test:
//
//	err := rotationtest.TestStore(t.Context(), func(name string) (rotation.Store, error) {
//		return myStore(db, name), nil
//	})
//	if err != nil {
//		t.Fatal(err)
//	}
//
// open returns a store for the document with the given name. No document of this name
// may exist: if documents outlive the test, add a random prefix to the name. TestStore
// calls open several times with the same name, as several processes do, and open must
// then return stores of the same document. The methods are called concurrently.
//
// A document may come back with other white space, another order of fields and other
// escapes: TestStore compares parsed JSON. TestStore loses no responses, because it
// cannot reach below the store: test a lost response with a transport of your own.
func TestStore(ctx context.Context, open func(name string) (rotation.Store, error)) error {
	var failures []error
	for _, c := range checks {
		name := "rotationtest-" + strings.ReplaceAll(c.name, " ", "-")
		d := &document{open: func() (rotation.Store, error) { return open(name) }}
		if err := c.run(ctx, d); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", c.name, err))
		}
	}
	return errors.Join(failures...)
}

var checks = []struct {
	name string
	run  func(ctx context.Context, d *document) error
}{
	{"no document", noDocument},
	{"first document", firstDocument},
	{"newest version", newestVersion},
	{"old version", oldVersion},
	{"same document again", sameAgain},
	{"every kind of value", everyValue},
	{"bytes of the caller", bytesOfCaller},
	{"race for the first", raceForFirst},
	{"race for the next", raceForNext},
	{"ended context", endedContext},
}

func noDocument(ctx context.Context, d *document) error {
	s, err := d.open()
	if err != nil {
		return err
	}
	switch doc, _, err := s.Get(ctx); {
	case err != nil:
		return fmt.Errorf("in Get: %w; without a document, return nil and no error", err)
	case doc != nil:
		return errors.New("in Get: got a document before the first Swap")
	}
	return nil
}

func firstDocument(ctx context.Context, d *document) error {
	none, err := d.version(ctx)
	if err != nil {
		return err
	}
	if err := d.swap(ctx, none, first); err != nil {
		return err
	}
	if err := d.holds(ctx, first); err != nil {
		return err
	}
	if err := d.conflicts(ctx, none, second); err != nil {
		return fmt.Errorf("with the version of no document: %w", err)
	}
	return d.holds(ctx, first)
}

func newestVersion(ctx context.Context, d *document) error {
	for _, doc := range []string{first, second, third} {
		if err := d.replace(ctx, doc); err != nil {
			return err
		}
		if err := d.holds(ctx, doc); err != nil {
			return err
		}
	}
	return nil
}

func oldVersion(ctx context.Context, d *document) error {
	var old []string
	for _, doc := range []string{first, second, third} {
		v, err := d.version(ctx)
		if err != nil {
			return err
		}
		old = append(old, v)
		if err := d.swap(ctx, v, doc); err != nil {
			return err
		}
	}
	for i, v := range old {
		if err := d.conflicts(ctx, v, second); err != nil {
			return fmt.Errorf("with version %d of 4: %w", i+1, err)
		}
	}
	return d.holds(ctx, third)
}

// sameAgain replaces a document by an equal document, as a run does after a crash.
func sameAgain(ctx context.Context, d *document) error {
	for range 2 {
		if err := d.replace(ctx, first); err != nil {
			return err
		}
	}
	return d.holds(ctx, first)
}

func everyValue(ctx context.Context, d *document) error {
	large := strings.Repeat("0123456789abcdef", 512) // 8 KiB
	doc := `{ "z": "first", "a": {"nested": [1, true, false, null, "", {"deep": []}]},
		"text": "quote \" backslash \\ <&> \u2028 é 漢 \ud83d\ude00 \n", "number": 1754321234, "large": "` + large + `" }`
	if err := d.replace(ctx, doc); err != nil {
		return err
	}
	return d.holds(ctx, doc)
}

// bytesOfCaller overwrites the bytes that Swap received, and then the bytes of Get.
func bytesOfCaller(ctx context.Context, d *document) error {
	s, err := d.open()
	if err != nil {
		return err
	}
	_, v, err := s.Get(ctx)
	if err != nil {
		return fmt.Errorf("in Get: %w", err)
	}
	given := []byte(first)
	if err := s.Swap(ctx, v, given); err != nil {
		return fmt.Errorf("in Swap: %w", err)
	}
	clear(given)
	got, _, err := s.Get(ctx)
	if err != nil {
		return fmt.Errorf("in Get: %w", err)
	}
	clear(got)
	if got, _, err = s.Get(ctx); err != nil {
		return fmt.Errorf("in Get: %w", err)
	}
	if !equal(got, first) {
		return errors.New("the store shares bytes with the caller; copy them")
	}
	return nil
}

func raceForFirst(ctx context.Context, d *document) error { return race(ctx, d, 0) }

func raceForNext(ctx context.Context, d *document) error {
	for round := range 4 {
		if err := race(ctx, d, round); err != nil {
			return err
		}
	}
	return nil
}

// race swaps the newest version from several stores at once. A single swap succeeds, all
// other swaps return ErrConflict, and the document of the winner stays.
func race(ctx context.Context, d *document, round int) error {
	v, err := d.version(ctx)
	if err != nil {
		return err
	}
	var stores [racers]rotation.Store
	for i := range stores {
		if stores[i], err = d.open(); err != nil {
			return err
		}
	}
	var results [racers]error
	var wg sync.WaitGroup
	for i, s := range stores {
		wg.Go(func() { results[i] = s.Swap(ctx, v, []byte(racersDocument(round, i))) })
	}
	wg.Wait()
	winner := -1
	for i, err := range results {
		switch {
		case err == nil && winner >= 0:
			return errors.New("two swaps from the same version succeeded")
		case err == nil:
			winner = i
		case !errors.Is(err, rotation.ErrConflict):
			return fmt.Errorf("in Swap: %w; return ErrConflict if a swap loses a race", err)
		}
	}
	if winner < 0 {
		return fmt.Errorf("none of %d swaps from the newest version succeeded", racers)
	}
	return d.holds(ctx, racersDocument(round, winner))
}

// racersDocument returns different documents, as runs do: a store may use the content
// as the version.
func racersDocument(round, i int) string {
	return fmt.Sprintf(`{"kind":"test","round":%d,"racer":%d}`, round, i)
}

// endedContext calls the store after the end of the context, as a stopped run does.
func endedContext(ctx context.Context, d *document) error {
	if err := d.replace(ctx, first); err != nil {
		return err
	}
	s, err := d.open()
	if err != nil {
		return err
	}
	_, v, err := s.Get(ctx)
	if err != nil {
		return fmt.Errorf("in Get: %w", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Swap(ended, v, []byte(second)); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("in Swap: got %v; after the end of the context, return context.Canceled", shown(err))
	}
	if _, _, err := s.Get(ended); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("in Get: got %v; after the end of the context, return context.Canceled", shown(err))
	}
	return d.holds(ctx, first)
}

// document is the document of a check. Each method opens another store.
type document struct {
	open func() (rotation.Store, error)
}

func (d *document) version(ctx context.Context) (string, error) {
	s, err := d.open()
	if err != nil {
		return "", err
	}
	_, v, err := s.Get(ctx)
	if err != nil {
		return "", fmt.Errorf("in Get: %w", err)
	}
	return v, nil
}

// replace swaps the newest version.
func (d *document) replace(ctx context.Context, doc string) error {
	v, err := d.version(ctx)
	if err != nil {
		return err
	}
	return d.swap(ctx, v, doc)
}

func (d *document) swap(ctx context.Context, version, doc string) error {
	s, err := d.open()
	if err != nil {
		return err
	}
	if err := s.Swap(ctx, version, []byte(doc)); err != nil {
		return fmt.Errorf("in Swap: %w; the version is the newest", err)
	}
	return nil
}

// conflicts returns nil if a swap returns ErrConflict, and the error shows no secret.
func (d *document) conflicts(ctx context.Context, version, doc string) error {
	s, err := d.open()
	if err != nil {
		return err
	}
	err = s.Swap(ctx, version, []byte(doc))
	switch {
	case err == nil:
		return errors.New("in Swap: no error; want ErrConflict")
	case !errors.Is(err, rotation.ErrConflict):
		return fmt.Errorf("in Swap: got %w; want ErrConflict", err)
	case strings.Contains(err.Error(), hidden):
		return errors.New("in Swap: the error shows a secret of the document")
	}
	return nil
}

func (d *document) holds(ctx context.Context, want string) error {
	s, err := d.open()
	if err != nil {
		return err
	}
	got, _, err := s.Get(ctx)
	if err != nil {
		return fmt.Errorf("in Get: %w", err)
	}
	if !equal(got, want) {
		return fmt.Errorf("in Get: got %s; want %s", got, want)
	}
	return nil
}

// equal reports whether got and want are the same JSON.
func equal(got []byte, want string) bool {
	var g, w any
	return json.Unmarshal(got, &g) == nil && json.Unmarshal([]byte(want), &w) == nil && reflect.DeepEqual(g, w)
}

func shown(err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error()
}
