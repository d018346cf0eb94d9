package contract

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	validation "github.com/pb33f/libopenapi-validator/errors"
	"github.com/pb33f/libopenapi-validator/router"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
	"go.yaml.in/yaml/v3"
)

// Contract is an OpenAPI document for checks of exchanges.
//
// OpenAPI cannot express that the credential selects a schema. Contract therefore
// loads the document twice, each time with the alternatives of a single generation:
// a response of generation 2 to an API key is invalid.
type Contract struct{ generations [2]generation }

// generation is the document with the alternatives of a generation.
type generation struct {
	model     *v3.Document
	validator validator.Validator
	router    router.Router
}

// Load reads a contract.
func Load(file string) (*Contract, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	c := new(Contract)
	for i, other := range []string{"Gen2", "Gen1"} {
		if c.generations[i], err = newGeneration(text, other); err != nil {
			return nil, fmt.Errorf("%s: generation %d: %w", file, i+1, err)
		}
	}
	return c, nil
}

// newGeneration reads a document without the alternatives whose names end in other.
func newGeneration(text []byte, other string) (g generation, err error) {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return g, err
	}
	dropAlternatives(&root, other)
	if text, err = yaml.Marshal(&root); err != nil {
		return g, err
	}
	document, err := libopenapi.NewDocument(text)
	if err != nil {
		return g, err
	}
	model, err := document.BuildV3Model()
	if err != nil {
		return g, err
	}
	g.model = &model.Model
	g.router = router.NewRouter(g.model, router.WithPathOnlyMatching())
	var errs []error
	g.validator, errs = validator.NewValidator(document,
		config.WithFormatAssertions(),
		config.WithURLEncodedBodyValidation(),
		config.WithRejectUnsupportedBodyContent(),
		config.WithRejectUndeclaredRequestBody(),
		// Rejects undeclared query parameters and headers. For bodies, strict mode
		// ignores allOf: their schemas are strict instead.
		config.WithStrictMode(),
		config.WithStrictIgnorePaths("$.body.**"),
		config.WithAuthenticationFunc(authenticate))
	return g, errors.Join(errs...)
}

// dropAlternatives removes references from every anyOf if their names end in
// suffix.
func dropAlternatives(node *yaml.Node, suffix string) {
	for i, child := range node.Content {
		if node.Kind == yaml.MappingNode && i%2 == 1 && node.Content[i-1].Value == "anyOf" {
			var kept []*yaml.Node
			for _, alternative := range child.Content {
				if c := alternative.Content; len(c) < 2 || c[0].Value != "$ref" || !strings.HasSuffix(c[1].Value, suffix) {
					kept = append(kept, alternative)
				}
			}
			child.Content = kept
		}
		dropAlternatives(child, suffix)
	}
}

// authenticate accepts a request with a bearer. The validator's own check is too
// weak: any header with the prefix Bearer, and no check at all for OAuth.
func authenticate(_ context.Context, in *config.AuthenticationInput) error {
	_, err := bearerOf(in.Request.Header)
	return err
}

// of returns the document for an exchange.
func (c *Contract) of(e Exchange) generation { return c.generations[e.generation()-1] }

// Operation returns the operation of an exchange.
func (c *Contract) Operation(e Exchange) (*v3.Operation, error) {
	r, err := e.request()
	if err != nil {
		return nil, err
	}
	route, err := c.of(e).router.FindRoute(r)
	if err != nil {
		return nil, err
	}
	return route.Operation, nil
}

// CheckRequest returns an error if the request of an exchange is invalid.
func (c *Contract) CheckRequest(e Exchange) error {
	r, err := e.request()
	if err != nil {
		return err
	}
	_, errs := c.of(e).validator.ValidateHttpRequestSync(r)
	return join(errs)
}

// CheckResponse returns an error if the response of an exchange is invalid.
func (c *Contract) CheckResponse(e Exchange) error {
	r, err := e.request()
	if err != nil {
		return err
	}
	operation, err := c.Operation(e)
	if err != nil {
		return err
	}
	documented := operation.Responses.Codes.GetOrZero(strconv.Itoa(e.Status))
	if documented != nil && documented.Content != nil && len(e.Body) == 0 {
		return errors.New("the response has no body") // the validator accepts an empty body
	}
	response := &http.Response{StatusCode: e.Status, Header: e.Header, Body: io.NopCloser(bytes.NewReader(e.Body)), Request: r}
	_, errs := c.of(e).validator.ValidateHttpResponse(r, response)
	return join(errs)
}

// join returns an error with the message and the reasons of each validation error.
func join(errs []*validation.ValidationError) error {
	var all []error
	for _, err := range errs {
		all = append(all, fmt.Errorf("%s: %s", err.Message, err.Reason))
		for _, detail := range err.SchemaValidationErrors {
			all = append(all, fmt.Errorf("  at %s: %s", detail.FieldPath, detail.Reason))
		}
	}
	return errors.Join(all...)
}
