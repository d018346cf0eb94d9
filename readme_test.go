package diffhook_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// Parts of the README's programs, letter for letter, to compile them.

func readmeClient(ctx context.Context) error {
	client, err := diffhook.NewClient(diffhook.EnvCredentials(), nil) // DIFFHOOK_API_KEY
	// …
	if err != nil {
		return err
	}
	monitor, err := client.Monitors.Create(ctx, diffhook.MonitorParams{
		URL: "https://example.com/pricing", WebhookURL: "https://example.org/hook", IntervalMinutes: 15,
	})
	_ = monitor
	return err
}

func readmeTesting(t *testing.T, ctx context.Context, h http.Handler) {
	secret := diffhooktest.NewSecret() // of github.com/diffhook/diffhook-go/diffhooktest
	v, err := diffhook.NewVerifier(ctx, diffhook.Secrets{Current: secret}, nil)
	// … h is your handler around v
	require.NoError(t, err)
	h = v.Handler(h)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, diffhooktest.NewRequest("/hook", secret, diffhooktest.PageChanged()))
	assert.Equal(t, http.StatusOK, w.Code)
}

func TestReadmeFragments(t *testing.T) {
	t.Setenv("DIFFHOOK_API_KEY", "")
	require.ErrorIs(t, readmeClient(t.Context()), diffhook.ErrInvalidCredentials)
	readmeTesting(t, t.Context(), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))

	self, err := os.ReadFile("readme_test.go")
	require.NoError(t, err)
	fragments := 0
	for _, block := range readmeBlocks(t) {
		if strings.HasPrefix(block, "package ") {
			continue
		}
		for line := range strings.Lines(block) {
			assert.Contains(t, string(self), "\n\t"+line, "compile what the README shows")
		}
		fragments++
	}
	assert.Positive(t, fragments)
}

// The README's programs are compiled unchanged, as files of this module in an overlay.
func TestReadmePrograms(t *testing.T) {
	programs := 0
	for _, block := range readmeBlocks(t) {
		if !strings.HasPrefix(block, "package ") {
			continue
		}
		programs++
		dir := t.TempDir()
		source := filepath.Join(dir, "main.go")
		require.NoError(t, os.WriteFile(source, []byte(block), 0o600))
		here, err := os.Getwd()
		require.NoError(t, err)
		overlay, err := json.Marshal(map[string]map[string]string{
			"Replace": {filepath.Join(here, "internal", "readme", "main.go"): source},
		})
		require.NoError(t, err)
		config := filepath.Join(dir, "overlay.json")
		require.NoError(t, os.WriteFile(config, overlay, 0o600))
		output, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", config, "-o", filepath.Join(dir, "program"), "./internal/readme").CombinedOutput()
		assert.NoError(t, err, "%s", output)
	}
	assert.Positive(t, programs)
}

// The README is a page to skim in two minutes. Code and the targets of links do not
// count as words.
func TestReadmeIsOnePage(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	assert.LessOrEqual(t, strings.Count(string(readme), "\n"), 120, "lines")

	prose := regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(string(readme), "")
	for line := range strings.Lines(prose) {
		if !strings.HasPrefix(line, "|") && !strings.Contains(line, "https:") {
			assert.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), 100, line)
		}
	}
	words := regexp.MustCompile("`[^`]*`|\\]\\([^)]*\\)").ReplaceAllString(prose, "")
	count := len(regexp.MustCompile(`[\pL\pN][\pL\pN'.,:-]*`).FindAllString(words, -1))
	assert.LessOrEqual(t, count, 450, "words outside code")
	assert.Greater(t, count, 200, "words are counted")
}

// The README begins with the commands that show and test the library.
func TestReadmeBeginsWithTwoCommands(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	block := regexp.MustCompile("(?s)```\n(.*?)```").FindStringSubmatch(string(readme))
	require.NotNil(t, block)
	lines := strings.Split(strings.TrimSpace(block[1]), "\n")
	require.Len(t, lines, 2)
	assert.Regexp(t, `^go run \./examples/quickstart( |$)`, lines[0])
	assert.Regexp(t, `^go test \./\.\.\.( |$)`, lines[1])
}

func readmeBlocks(t *testing.T) (blocks []string) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, match := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(readme), -1) {
		blocks = append(blocks, match[1])
	}
	require.NotEmpty(t, blocks)
	return blocks
}
