package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// functions finds the functions whose name begins with prefix in those tests
// below dir whose text is wanted.
func functions(dir, prefix string, wanted func(text []byte) bool) ([]test, error) {
	var found []test
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil || !wanted(text) {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, prefix) && fn.Name.Name != "TestMain" {
				found = append(found, test{filepath.Dir(path), fn.Name.Name})
			}
		}
		return nil
	})
	return found, err
}

// guestTests finds the tests below dir that are only built with the tag vmtest,
// by package.
func guestTests(dir string) (map[string][]string, error) {
	tests, err := functions(dir, "Test", func(text []byte) bool {
		return bytes.Contains(text, []byte("\n//go:build vmtest\n")) || bytes.HasPrefix(text, []byte("//go:build vmtest\n"))
	})
	byPackage := map[string][]string{}
	for _, t := range tests {
		byPackage[t.pkg] = append(byPackage[t.pkg], t.name)
	}
	return byPackage, err
}
