// Package docs_test holds the pages of this folder to the code: their snippets
// compile, and their links lead to files and headings.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every Go snippet of the pages here, and of the READMEs of the libraries of contrib, is in
// a file that compiles: as it stands, or in a function. A program compiles in a test of
// the module.
func TestSnippetsCompile(t *testing.T) {
	compiled := ""
	for _, pattern := range []string{"snippets*_test.go", "../contrib/*/*.go"} {
		names, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, name := range names {
			compiled += "\n" + read(t, name)
		}
	}
	inFunction := regexp.MustCompile(`(?m)^(.)`)
	texts := pages(t)
	readmes, err := filepath.Glob("../contrib/diffhook*/README.md")
	require.NoError(t, err)
	for _, readme := range readmes {
		texts[readme] = read(t, readme)
	}
	snippets := 0
	for page, text := range texts {
		for _, snippet := range blocks(text, "go") {
			if strings.HasPrefix(snippet, "package ") {
				continue
			}
			snippets++
			if !strings.Contains(compiled, "\n"+snippet) {
				assert.Contains(t, compiled, "\n"+inFunction.ReplaceAllString(snippet, "\t$1"), "%s: compile what the page shows", page)
			}
		}
	}
	assert.Positive(t, snippets)
}

// Links of the pages here and in the root lead to files, and to headings of pages.
func TestLinksLeadSomewhere(t *testing.T) {
	names, err := filepath.Glob("../*.md")
	require.NoError(t, err)
	texts := pages(t)
	for _, name := range names {
		texts[name] = read(t, name)
	}
	for page, text := range texts {
		for _, link := range regexp.MustCompile(`\]\(([^)]*)\)`).FindAllStringSubmatch(text, -1) {
			file, anchor, _ := strings.Cut(link[1], "#")
			if strings.HasPrefix(file, "https:") {
				continue
			}
			target := text
			if file != "" {
				path := filepath.Join(filepath.Dir(page), file)
				if _, err := os.Stat(path); !assert.NoError(t, err, page) {
					continue
				}
				if filepath.Ext(path) == ".md" {
					target = read(t, path)
				}
			}
			if anchor != "" {
				assert.Contains(t, anchors(target), anchor, page)
			}
		}
	}
}

// The commands of the pages are those that the help of the tool describes.
func TestCommandsExist(t *testing.T) {
	var helps string
	names, err := filepath.Glob("../cmd/diffhook/help/*.txt")
	require.NoError(t, err)
	for _, name := range names {
		helps += read(t, name)
	}
	flags := regexp.MustCompile(`--[a-z][a-z-]*`)
	shell := regexp.MustCompile("(?ms)^ *```sh\n.*?^ *```$") // also commands of other programs
	commands := 0
	for page, text := range pages(t) {
		for _, snippet := range blocks(text, "sh") {
			for _, line := range regexp.MustCompile(`(?m)^diffhook (\S+)(.*?)(?:#.*)?$`).FindAllStringSubmatch(snippet, -1) {
				commands++
				help := read(t, filepath.Join("..", "cmd", "diffhook", "help", line[1]+".txt"))
				for _, flag := range flags.FindAllString(line[2], -1) {
					assert.Contains(t, help, "\n  "+flag+" ", page)
				}
			}
		}
		for _, flag := range flags.FindAllString(shell.ReplaceAllString(text, ""), -1) {
			assert.Contains(t, helps, "\n  "+flag+" ", page)
		}
		for _, variable := range regexp.MustCompile(`DIFFHOOK_(\w+_STORE|RECEIVER\w*)`).FindAllString(text, -1) {
			assert.Contains(t, read(t, "../cmd/diffhook/help/diffhook.txt"), variable, page)
		}
	}
	assert.Positive(t, commands)
}

// The README links every page of this folder.
func TestReadmeLinksEveryPage(t *testing.T) {
	readme := read(t, "../README.md")
	for page := range pages(t) {
		assert.Contains(t, readme, "(docs/"+page+")")
	}
}

// The lines of the README's table of frameworks are run by the tests of contrib.
func TestFrameworkLinesAreRun(t *testing.T) {
	names, err := filepath.Glob("../contrib/*/*_test.go")
	require.NoError(t, err)
	run := ""
	for _, name := range names {
		run += read(t, name)
	}
	_, table, found := strings.Cut(read(t, "../README.md"), "| framework |")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n\n")
	lines := regexp.MustCompile("(?m)^\\| [^|]+ \\| `([^`]+)`").FindAllStringSubmatch(table, -1)
	require.Greater(t, len(lines), 5)
	for _, line := range lines {
		code, _, _ := strings.Cut(line[1], " f))") // a test has a function in place of f
		assert.Contains(t, run, code)
	}
}

// CONTRIBUTING.md names tests and functions to look for. They exist.
func TestNamesInContributingExist(t *testing.T) {
	code := ""
	for _, pattern := range []string{"../*.go", "../diffhooktest/*.go", "../rotation/rotationtest/*.go", "../contract/*.go", "../contrib/routers/*.go"} {
		names, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, name := range names {
			code += read(t, name)
		}
	}
	page := read(t, "../CONTRIBUTING.md")
	table, _, _ := strings.Cut(page, "## Layout")
	names := regexp.MustCompile("`([A-Za-z]+)`").FindAllStringSubmatch(table, -1)
	require.NotEmpty(t, names)
	for _, name := range names {
		assert.Regexp(t, `(?m)^\s*(func( \([^)]*\))?|type|var|const)? ?\b`+name[1]+`\b( =|\(| struct| \[)`, code, "%s is named in CONTRIBUTING.md", name[1])
	}
}

// Each nested module is in the list of modules to release or not to release.
func TestReleasingNamesEachModule(t *testing.T) {
	page := read(t, "../RELEASING.md")
	modules := 0
	require.NoError(t, filepath.WalkDir("..", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.Name() != "go.mod" || path == "../go.mod" {
			return err
		}
		modules++
		module, err := filepath.Rel("..", filepath.Dir(path))
		assert.Contains(t, page, "| `"+filepath.ToSlash(module)+"` |")
		return err
	}))
	assert.Positive(t, modules)
}

// Every issue form warns of secrets before its first field.
func TestIssueFormsWarnOfSecrets(t *testing.T) {
	names, err := filepath.Glob("../.github/ISSUE_TEMPLATE/*.yml")
	require.NoError(t, err)
	forms := 0
	for _, name := range names {
		if filepath.Base(name) == "config.yml" {
			continue
		}
		forms++
		warning, _, found := strings.Cut(read(t, name), "id:")
		require.True(t, found, name)
		assert.Contains(t, warning, "**Do not paste", name)
		assert.Contains(t, warning, "This page is public.", name)
	}
	assert.Positive(t, forms)
}

// anchors returns the names of the headings of a page, as GitHub makes them.
func anchors(text string) (names []string) {
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

// blocks returns the fenced blocks of a language, without the indentation of a list.
func blocks(text, language string) (found []string) {
	for _, match := range regexp.MustCompile("(?ms)^( *)```"+language+"\n(.*?)^ *```$").FindAllStringSubmatch(text, -1) {
		found = append(found, regexp.MustCompile("(?m)^"+match[1]).ReplaceAllString(match[2], ""))
	}
	return found
}

func pages(t *testing.T) map[string]string {
	names, err := filepath.Glob("*.md")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	texts := make(map[string]string)
	for _, name := range names {
		texts[name] = read(t, name)
	}
	return texts
}

func read(t *testing.T, name string) string {
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}
