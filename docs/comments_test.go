package docs_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// maxCommentWords bounds a doc comment, the package comment aside. A longer procedure
// belongs to a page of docs/.
const maxCommentWords = 130

// codeBlock matches a line of code in a comment, which does not count.
var codeBlock = regexp.MustCompile(`(?m)^\t.*$`)

// TestDocCommentsAreShort counts the words of each exported doc comment of the
// module's packages, with the comments of fields and interface methods.
func TestDocCommentsAreShort(t *testing.T) {
	counted := 0
	for _, dir := range packageFolders(t) {
		for name, comment := range exportedComments(t, dir) {
			counted++
			words := 0
			for word := range strings.FieldsSeq(codeBlock.ReplaceAllString(comment, "")) {
				if strings.ContainsFunc(word, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
					words++
				}
			}
			assert.LessOrEqual(t, words, maxCommentWords, "the words of the comment of %s in %s", name, dir)
		}
	}
	require.Greater(t, counted, 200, "exported comments in the module")
}

// packageFolders returns the folders of the packages that other modules can import.
func packageFolders(t *testing.T) (dirs []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		switch name := entry.Name(); {
		case path == "..":
		case isModule(path), name == "internal", name == "examples", name == "testdata", strings.HasPrefix(name, "."):
			return filepath.SkipDir
		}
		dirs = append(dirs, path)
		return nil
	})
	require.NoError(t, err)
	return dirs
}

func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// exportedComments returns the doc comments of the package in dir, by the name of
// what they document.
func exportedComments(t *testing.T, dir string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	fset := token.NewFileSet()
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		require.NoError(t, err)
		files = append(files, file)
	}
	comments := make(map[string]string)
	if len(files) == 0 {
		return comments
	}
	pkg, err := doc.NewFromFiles(fset, files, dir)
	require.NoError(t, err)
	addValues := func(values []*doc.Value) {
		for _, v := range values {
			comments[strings.Join(v.Names, ", ")] = v.Doc
			addFields(comments, v.Names[0], v.Decl)
		}
	}
	addFuncs := func(funcs []*doc.Func) {
		for _, f := range funcs {
			comments[strings.TrimPrefix(f.Recv+"."+f.Name, ".")] = f.Doc
		}
	}
	addValues(pkg.Consts)
	addValues(pkg.Vars)
	addFuncs(pkg.Funcs)
	for _, typ := range pkg.Types {
		comments[typ.Name] = typ.Doc
		addFields(comments, typ.Name, typ.Decl)
		addValues(typ.Consts)
		addValues(typ.Vars)
		addFuncs(typ.Funcs)
		addFuncs(typ.Methods)
	}
	return comments
}

// addFields adds the comments within a declaration: of fields, of the methods of an
// interface, and of the values of a group.
func addFields(comments map[string]string, within string, decl *ast.GenDecl) {
	ast.Inspect(decl, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			if len(n.Names) > 0 && n.Doc != nil {
				comments[within+"."+n.Names[0].Name] = n.Doc.Text()
			}
		case *ast.ValueSpec:
			if n.Doc != nil {
				comments[n.Names[0].Name] = n.Doc.Text()
			}
		}
		return true
	})
}
