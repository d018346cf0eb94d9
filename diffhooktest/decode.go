package diffhooktest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// field is the name of a field in requests, and a function that sets the value.
type field[T any] struct {
	name string
	set  func(*T, json.RawMessage) *failure
}

// decode sets the known fields of v from the JSON object in body, and returns the
// number of fields in body. It rejects unknown names (the case counts), repeated
// names, null, and data after the object. A required field must be present and not
// blank.
func decode[T any](body []byte, v *T, known []field[T], required ...string) (int, *failure) {
	object, err := parseObject(body)
	if err != nil {
		return 0, invalid("The body is not valid: %v", err)
	}
	for _, name := range object.names {
		if !slices.ContainsFunc(known, func(f field[T]) bool { return f.name == name }) {
			return 0, invalid("Unknown field %q", name)
		}
	}
	var missing []string
	for _, name := range required {
		if value, ok := object.values[name]; !ok || isBlank(value) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return 0, &failure{status: http.StatusBadRequest, code: codeMissingFields, message: "Missing required fields: " + strings.Join(missing, ", ")}
	}
	for _, f := range known {
		if value, ok := object.values[f.name]; ok {
			if failed := f.set(v, value); failed != nil {
				return 0, failed
			}
		}
	}
	return len(object.names), nil
}

func isBlank(value json.RawMessage) bool {
	var s string
	return string(value) == "null" || json.Unmarshal(value, &s) == nil && strings.TrimSpace(s) == ""
}

// object is a JSON object with the names in their order.
type object struct {
	names  []string
	values map[string]json.RawMessage
}

// parseObject reads a JSON object with distinct names. encoding/json alone accepts
// repeated names and invalid UTF-8.
func parseObject(body []byte) (*object, error) {
	if !utf8.Valid(body) {
		return nil, errors.New("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return nil, errors.New("it is not a JSON object")
	}
	o := &object{values: make(map[string]json.RawMessage)}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, errors.New("it is malformed JSON")
		}
		name := token.(string) // the decoder admits only strings here
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, errors.New("it is malformed JSON")
		}
		if _, ok := o.values[name]; ok {
			return nil, fmt.Errorf("the field %q appears twice", name)
		}
		o.names = append(o.names, name)
		o.values[name] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("it is malformed JSON")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("there is data after the JSON object")
	}
	return o, nil
}

// decodeAs reads a value of a JSON type; null matches no type.
func decodeAs[V any](name, kind string, value json.RawMessage, v *V) *failure {
	if string(value) == "null" || json.Unmarshal(value, v) != nil {
		return invalid("The field %q must be a %s", name, kind)
	}
	return nil
}

func stringField[T any](name string, at func(*T) *string) field[T] {
	return field[T]{name, func(v *T, value json.RawMessage) *failure { return decodeAs(name, "string", value, at(v)) }}
}

func boolField[T any](name string, at func(*T) *bool) field[T] {
	return field[T]{name, func(v *T, value json.RawMessage) *failure { return decodeAs(name, "boolean", value, at(v)) }}
}

// urlField is an absolute http or https URL. The platform also rejects URLs that it
// cannot reach; the emulator does not try.
func urlField[T any](name string, at func(*T) *string) field[T] {
	return field[T]{name, func(v *T, value json.RawMessage) *failure {
		if failed := decodeAs(name, "string", value, at(v)); failed != nil {
			return failed
		}
		u, err := url.Parse(*at(v))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			return &failure{status: http.StatusBadRequest, code: codeInvalidURL, message: fmt.Sprintf("The field %q is not a valid http or https URL", name)}
		}
		return nil
	}}
}

// intervalField is a documented interval, in minutes.
func intervalField[T any](name string, at func(*T) *int) field[T] {
	return field[T]{name, func(v *T, value json.RawMessage) *failure {
		var n float64
		if failed := decodeAs(name, "number", value, &n); failed != nil {
			return failed
		}
		if !slices.Contains([]float64{5, 15, 30, 60, 360, 1440}, n) {
			return &failure{status: http.StatusBadRequest, code: codeInvalidInterval, message: fmt.Sprintf("The field %q must be 5, 15, 30, 60, 360 or 1440", name)}
		}
		*at(v) = int(n)
		return nil
	}}
}

// checkContentType rejects a request unless the only Content-Type is want, in
// UTF-8.
func checkContentType(header http.Header, want string) *failure {
	values := header.Values("Content-Type")
	if len(values) == 1 {
		got, params, err := mime.ParseMediaType(values[0])
		charset, other := params["charset"]
		if err == nil && got == want && (!other || strings.EqualFold(charset, "utf-8")) {
			return nil
		}
	}
	return invalid("The Content-Type must be %s", want)
}

// limitOf returns the limit in the query of a list, by default 50.
func limitOf(query string) (int, *failure) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return 0, invalid("The query is malformed")
	}
	limit := 50
	for name, given := range values {
		if name != "limit" {
			return 0, invalid("Unknown query parameter %q", name)
		}
		limit, err = strconv.Atoi(given[0])
		if len(given) > 1 || err != nil || limit < 1 || limit > 200 {
			return 0, invalid("The limit must be a number from 1 to 200")
		}
	}
	return limit, nil
}
