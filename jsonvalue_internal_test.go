package diffhook

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// rebuilt walks over a value and returns what encoding/json would.
func rebuilt(v value) any {
	switch {
	case v.isObject():
		object := map[string]any{}
		members := v.elements()
		for name := members.next(); len(name) > 0; name = members.next() {
			object[string(name.unquoted())] = rebuilt(members.next())
		}
		return object
	case v.isList():
		list := []any{}
		items := v.elements()
		for item := items.next(); len(item) > 0; item = items.next() {
			list = append(list, rebuilt(item))
		}
		return list
	case v.isText():
		return string(v.unquoted())
	case v.isNumber():
		return json.Number(v)
	case v.isNull():
		return nil
	}
	return string(v) == "true"
}

// FuzzParseValue: a value is walked over as encoding/json reads it, and a text
// that encoding/json refuses is refused.
func FuzzParseValue(f *testing.F) {
	for _, text := range []string{
		"", "null", "true", "-1.5e+3", `""`, `"\\"`, `"\""`, `"é\u00e9\ud83d\ude00\ud800"`, "\"\xff\"", "[]", "{}", " [ ] ", "\t{ }\r\n",
		`[1,2,[3,[4,{"a":5}]],"]",{"}":"{"}]`, `{"a":1,"b":[true,false,null],"c":{"d":"e,:[]{}\\\""}}`, `{"a" : 1 , "a" : [ ] }`,
		`{"":{"":""}}`, `[[[[]]],{}]`, `[null]`, `[-0]`, `{"\u0061":1}`, `[1`, `{"a"}`, `1 2`, `[1,]`, "\ufeff", "\ufeff{}", "\ufeff\ufeff{}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, ok := parseValue(text)
		bare := bytes.TrimPrefix(text, []byte("\ufeff"))
		require.Equal(t, json.Valid(bare), ok)
		if !ok {
			require.Empty(t, v)
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(bare))
		decoder.UseNumber()
		var want any
		require.NoError(t, decoder.Decode(&want))
		require.Empty(t, cmp.Diff(want, rebuilt(v)))

		// No reading of any value fails.
		for _, into := range []any{new(string), new(exactText), new(int), new(float64), new(bool), new(value)} {
			v.set(into)
			v.fill(field{"a_b", into})
		}
		require.False(t, v.time().Year() > 9999)
	})
}

// TestFieldNames: camelCase and snake_case are one name, and no other name is.
func TestFieldNames(t *testing.T) {
	for _, c := range []struct {
		member string
		want   bool
	}{
		{`"last_used_at"`, true},
		{`"lastUsedAt"`, true},
		{`"LastUsedAt"`, true},
		{`"LAST_USED_AT"`, true},
		{`"lastused_at"`, true},
		{`"lastU\u0073edAt"`, true},
		{`"_last_used_at"`, false},
		{`"last_used_at_"`, false},
		{`"lastUsed"`, false},
		{`"lastUsedAtUTC"`, false},
		{`"firstUsedAt"`, false},
		{`"last-used-at"`, false},
		{`"laſtUsedAt"`, false},
		{`""`, false},
		{`"_"`, false},
	} {
		t.Run(c.member, func(t *testing.T) { require.Equal(t, c.want, isName(value(c.member).unquoted(), "last_used_at")) })
	}
}
