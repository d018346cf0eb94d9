package routers_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// page is the page with the lines of this module.
const page = "../../docs/frameworks.md"

// sources are the files of the rows of the table, by the first cell of each.
var sources = map[string][]string{
	"net/http":     {"nethttp_test.go"},
	"chi v5":       {"chi_test.go"},
	"gorilla/mux":  {"gorilla_test.go"},
	"httprouter":   {"httprouter_test.go"},
	"gin":          {"gin_test.go"},
	"echo v4, v5":  {"echo4_test.go", "echo5_test.go"},
	"Fiber v2, v3": {"fiber2_test.go", "fiber3_test.go"},
	"AWS Lambda":   {lambdaExample},
}

const lambdaExample = "../diffhooklambda/example_test.go"

// Each line of the first table is in the source of the framework.
func TestTableRuns(t *testing.T) {
	_, rest, found := strings.Cut(read(t, page), "| framework |")
	require.True(t, found)
	table, _, _ := strings.Cut(rest, "\n\n")
	rows := 0
	for _, row := range regexp.MustCompile(`(?m)^\| ([^|-][^|]*?) \|(.*)\|$`).FindAllStringSubmatch(table, -1) {
		rows++
		require.Contains(t, sources, row[1], "name the source of the row")
		lines := regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(row[2], -1)
		assert.NotEmpty(t, lines)
		for _, line := range lines {
			for _, source := range sources[row[1]] {
				assert.Contains(t, plain(read(t, source)), "\n"+line[1]+"\n", source)
			}
		}
	}
	assert.Equal(t, len(sources), rows)
}

// Each snippet of Go stands in a source as a whole, apart from the indentation.
func TestSnippetsCompile(t *testing.T) {
	names, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	var all strings.Builder
	for _, name := range append(names, lambdaExample) {
		all.WriteString(plain(read(t, name)))
	}
	snippets := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(read(t, page), -1)
	require.NotEmpty(t, snippets)
	for _, snippet := range snippets {
		assert.Contains(t, all.String(), plain(snippet[1]))
	}
}

// plain returns text without indentation, after a newline.
func plain(text string) string {
	return "\n" + regexp.MustCompile(`(?m)^[ \t]+`).ReplaceAllString(text, "")
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}
