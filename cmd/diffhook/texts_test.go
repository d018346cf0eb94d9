package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/rotation"
)

// textsForPrograms are texts of package rotation for programs. They name options and
// functions, and the tool never shows them. The value is the reason.
var textsForPrograms = map[string]string{
	"%w: RetryHorizon, Quiet or Poll is negative; pass 0 for the default":                                     "flags are positive",
	"%w: Quiet is negative; pass 0 for the default":                                                           "flags are positive",
	"%w: Poll is negative; pass 0 for the default":                                                            "flags are positive",
	"%w: Hold is longer than %v; pass a shorter time":                                                         "complete checks --hold",
	"%w: there are no Receivers; name all servers, or set RevokeNow if the old secret may be revoked at once": "complete checks the receivers",
	"%w: ByHand: the Asker is nil; pass a function":                                                           "the tool has an Asker",
	"%w: the Remote is nil":                                                                                   "the tool sets each Remote",
	"%w: the URL of the Remote begins with neither https:// nor http://":                                      "--receiver checks URLs",
	"%w: create the document: the secret is the zero Secret; pass a secret of diffhook.NewSecret":             "--init reads a secret",
	"diffhook: decode a Pair: a Pair encodes without its key; set the fields":                                 "the tool decodes no pair",
	"%w: FileStore has no file lock on %s; write a Store of your own":                                         "the tool is built for Unix and Windows alone",
}

// TestTextsOfRotationNameNoGo reads all texts in the code of package rotation. A text for
// the tool must not name a function, a type, an option or a constant.
func TestTextsOfRotationNameNoGo(t *testing.T) {
	files := parseRotation(t)
	names := exportedNames(files)
	require.Subset(t, names, []string{"Secret", "RevokeSecret", "Key", "RevokeNow", "ErrBusy", "State"})
	var unused []string
	for text := range textsForPrograms {
		unused = append(unused, text)
	}
	seen := 0
	for _, text := range textsOf(files) {
		seen++
		if _, ok := textsForPrograms[text]; ok {
			unused = slices.DeleteFunc(unused, func(s string) bool { return s == text })
			continue
		}
		require.Empty(t, namedIn(text, names), "%q", text)
	}
	require.Greater(t, seen, 100)
	require.Empty(t, unused, "texts without a use in package rotation")
}

func TestNamesOfGoAreFound(t *testing.T) {
	names := exportedNames(parseRotation(t))
	for text, want := range map[string]string{
		"%w: the revocation is not finished; run RevokeSecret with it": "RevokeSecret",
		"%w: run Secret with %s":               "Secret",
		"run Key with it":                      "Key",
		"look for yourself, and set DeleteNow": "DeleteNow",
		"pass Secret.Fingerprint":              "Secret",
		"look at State":                        "State",
		"create it with NewKey":                "NewKey",
	} {
		require.Contains(t, namedIn(text, names), want)
	}
	require.Empty(t, namedIn("In App → Settings → API Keys, click Rotate signing secret, once. Delete no other key.", names))
}

// TestEveryStepAndFunctionIsNamed reads the constants in the code of package rotation.
func TestEveryStepAndFunctionIsNamed(t *testing.T) {
	files := parseRotation(t)
	steps, functions := constantsOf(files, "StepName"), constantsOf(files, "Function")
	require.NotEmpty(t, steps)
	for _, step := range steps {
		if rotation.StepName(step) != rotation.StepWarning { // a warning does not end a step
			require.NotEmpty(t, duringStep[rotation.StepName(step)], step)
		}
	}
	require.NotEmpty(t, functions)
	for _, function := range functions {
		require.NotNil(t, commandNamed(commandFor[rotation.Function(function)]), function)
	}
}

func parseRotation(t *testing.T) (files []*ast.File) {
	paths, err := filepath.Glob("../../rotation/*.go")
	require.NoError(t, err)
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		source, err := os.ReadFile(path)
		require.NoError(t, err)
		file, err := parser.ParseFile(token.NewFileSet(), path, source, 0)
		require.NoError(t, err)
		files = append(files, file)
	}
	return files
}

// exportedNames returns the names for programs, without "API", which is DiffHook's word.
func exportedNames(files []*ast.File) (names []string) {
	add := func(idents ...*ast.Ident) {
		for _, ident := range idents {
			if ident.IsExported() && ident.Name != "API" {
				names = append(names, ident.Name)
			}
		}
	}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				add(n.Name)
			case *ast.TypeSpec:
				add(n.Name)
			case *ast.ValueSpec:
				add(n.Names...)
			case *ast.Field:
				add(n.Names...)
			}
			return true
		})
	}
	return names
}

// textsOf returns the strings of files, without imports, tags and words alone, such as
// the value of a constant.
func textsOf(files []*ast.File) (texts []string) {
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ImportSpec:
				return false
			case *ast.Field:
				return n.Tag == nil
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil && strings.Contains(text, " ") {
					texts = append(texts, text)
				}
			}
			return true
		})
	}
	return texts
}

var (
	// labels are texts of the app.
	labels = regexp.MustCompile(`API Keys|Signing secret|click Rotate|New API key`)
	// sentenceBegins are words with a capital at the begin of a sentence.
	sentenceBegins = regexp.MustCompile(`(^|[.:?→] |\n)[A-Z][a-z]+ `)
	word           = regexp.MustCompile(`[A-Za-z]+`)
)

// namedIn returns the names in a text.
func namedIn(text string, names []string) (found []string) {
	text = labels.ReplaceAllString(text, "")
	text = sentenceBegins.ReplaceAllStringFunc(text, strings.ToLower)
	for _, w := range word.FindAllString(text, -1) {
		if slices.Contains(names, w) {
			found = append(found, w)
		}
	}
	return found
}

// constantsOf returns the values of the constants of a type.
func constantsOf(files []*ast.File, typeName string) (values []string) {
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if ident, ok := spec.Type.(*ast.Ident); ok && ident.Name == typeName {
				value, _ := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				values = append(values, value)
			}
			return true
		})
	}
	return values
}
